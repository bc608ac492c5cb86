"""Loopback sites, patience in milliseconds, and small meshes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from object_server import Loopback, Site

from aligncvc.objects.download import Policy


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment must not see requests to this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """serve(files, script=..., etags=...) starts a site that lives as long as the test."""
    with ExitStack() as stack:
        yield lambda files, **settings: stack.enter_context(Loopback(Site(files, **settings)))


@pytest.fixture
def waits() -> list[float]:
    """What the policy was asked to sleep."""
    return []


@pytest.fixture
def policy(waits: list[float]) -> Policy:
    """Four attempts, stalls noticed after 0.5 s, sleeps only noted."""
    return Policy(attempts=4, stall_seconds=0.5, sleep=waits.append)


@pytest.fixture
def cube_obj() -> dict[str, bytes]:
    """A cube of two materials, one textured, as OBJ + MTL + PNG."""
    import io

    from PIL import Image

    image = Image.new("RGB", (512, 384), (200, 40, 30))
    image.paste((20, 60, 210), (0, 0, 256, 384))
    png = io.BytesIO()
    image.save(png, "PNG")
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (0, 4)]
    quads = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    text = ["mtllib cube.mtl", *(f"v {x} {y} {z}" for x, y, z in corners)]
    text += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
    text += ["usemtl plain", *(f"f {quad}" for quad in quads[:4]), "usemtl picture"]
    for quad in quads[4:]:
        text.append("f " + " ".join(f"{v}/{t}" for t, v in enumerate(quad.split(), 1)))
    mtl = "newmtl plain\nKd 0.5 0.25 1\nd 0.4\nnewmtl picture\nKd 0 0 0\nmap_Kd Wood.PNG\n"
    return {"cube.obj": "\n".join(text).encode(), "cube.mtl": mtl.encode(), "wood.png": png.getvalue()}


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[[dict[str, bytes], str], Path]:
    """Write named bytes into a folder below tmp_path and return it."""

    def write(files: dict[str, bytes], folder: str) -> Path:
        for name, data in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / folder

    return write
