"""The PLY for public viewers: what it holds, and what Spark (npm: @sparkjsdev/spark) shows of it."""

from __future__ import annotations

import base64
import io
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image
from test_viewer import ink, screenshot

from aligncvc.files import PROJECT_ROOT
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians, is_viewer_ply, load_ply, save_ply
from aligncvc.splat import dense, rasterise
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.ply import Z_UP_TO_Y_UP, for_viewers, save_viewer_ply
from aligncvc.viewer.turntable import turntable

PX = 256
VIEW, NATIVE_PX = ViewSettings(), 64
"""The demo's renders."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MODULES = PROJECT_ROOT / ".cache/spark/node_modules"
needs_spark = pytest.mark.skipif(
    CHROMIUM is None or not (MODULES / "@sparkjsdev/spark").is_dir(),
    reason="chromium or Spark is not installed (apt-get install chromium; make spark)",
)


def sieve(count: int = 4000) -> Gaussians:
    """What the networks make: a closed surface at 64 px, needles with gaps between them above.

    A bowl off the origin, coloured by direction, so that mirrored or turned pictures differ.
    """
    random = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    direction = direction[direction[:, 2] < 0.4]
    count = len(direction)
    return Gaussians(
        direction * torch.tensor([0.6, 0.35, 0.5]) + torch.tensor([0.1, 0.0, 0.15]),
        torch.rand(count, 3, generator=random) * torch.tensor([0.012, 0.003, 0.003]) + 0.001,
        torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=1),
        torch.rand(count, generator=random) * 0.5 + 0.45,
        direction * 0.5 + 0.5,
    )


def y_up(cameras: Cameras) -> Cameras:
    """The same cameras in the viewers' world."""
    turn = torch.eye(4)
    turn[:3, :3] = Z_UP_TO_Y_UP
    return replace(cameras, c2w=turn @ cameras.c2w)


def ring(size_px: int) -> Cameras:
    """The turntable's cameras."""
    return orbit(
        [0.0, 90.0, 180.0, 270.0], VIEW.elevation_deg, distance=VIEW.distance, fov_y_deg=VIEW.fov_y_deg,
        size_px=size_px,
    )  # fmt: skip


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of pictures in 0..255, in dB."""
    return float(10 * np.log10(255**2 / np.square(a - b).mean()))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of what stands out from white by a tenth."""
    one, other = (np.abs(255 - x).max(-1) > 25 for x in (a, b))
    return float((one & other).sum() / (one | other).sum())


def pixels(images: torch.Tensor) -> np.ndarray:
    """(V, 3, H, W) in [0, 1] -> (V, H, W, 3) in 0..255."""
    return images.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255


def test_the_header_says_what_was_done_and_the_layout_is_3dgs(tmp_path: Path) -> None:
    save_viewer_ply(tmp_path / "model.ply", sieve(), NATIVE_PX, VIEW)
    save_ply(tmp_path / "raw.ply", sieve())
    header = (tmp_path / "model.ply").read_bytes().partition(b"end_header")[0].decode()
    (comment,) = (line for line in header.splitlines() if line.startswith("comment "))
    assert "y up" in comment and "low-pass of the 64 px" in comment and "--raw" in comment
    assert is_viewer_ply(tmp_path / "model.ply") and not is_viewer_ply(tmp_path / "raw.ply")
    ready, raw = (
        (tmp_path / name).read_bytes().partition(b"end_header\n") for name in ("model.ply", "raw.ply")
    )
    assert ready[0].replace(f"{comment}\n".encode(), b"") == raw[0]
    assert len(ready[2]) == len(raw[2])


def test_up_is_y_and_the_input_view_looks_from_plus_z() -> None:
    """Top, right and near side of the project's world: z, x and -y."""
    directions = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])
    torch.testing.assert_close(directions @ Z_UP_TO_Y_UP.T, torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]))
    assert float(torch.linalg.det(Z_UP_TO_Y_UP)) == 1
    g = replace(sieve(), means=directions.repeat(len(sieve()) // 3 + 1, 1)[: len(sieve())])
    assert float(for_viewers(g, NATIVE_PX, VIEW).means[0, 1]) == 1


def test_without_any_low_pass_it_looks_like_the_turntable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dense rasteriser with its own blur switched off stands for a viewer that has none."""
    px, model = 160, sieve(600)
    save_viewer_ply(tmp_path / "model.ply", model, NATIVE_PX, VIEW)
    save_ply(tmp_path / "raw.ply", model)
    expected = pixels(turntable(model, VIEW, 4, NATIVE_PX, px))[1:2]
    monkeypatch.setattr(dense, "BLUR_PX2", 0.0)
    cameras = ring(px)[[1]]
    ready = pixels(rasterise(load_ply(tmp_path / "model.ply"), y_up(cameras), backend="dense").rgb)
    raw = pixels(rasterise(load_ply(tmp_path / "raw.ply"), cameras, backend="dense").rgb)
    assert psnr(ready, expected) > 36 and iou(ready, expected) > 0.97
    assert psnr(raw, expected) < 20


@contextmanager
def served(ply: Path) -> Iterator[tuple[str, queue.Queue[tuple[str, bytes]]]]:
    """Address of a page that draws `ply` with Spark, and what the page posts: (path, body)."""
    posted: queue.Queue[tuple[str, bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing: pytest's output is no access log."""

        def do_GET(self) -> None:
            name = self.path.partition("?")[0]
            files = {"/": Path(__file__).with_name("spark_page.html"), "/model.ply": ply}
            path = files.get(name, MODULES / name.removeprefix("/node_modules/"))
            if not path.is_file():
                self.send_error(404)
                return
            data, kinds = path.read_bytes(), {".html": "text/html", ".js": "text/javascript"}
            self.send_response(200)
            self.send_header("Content-Type", kinds.get(path.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            posted.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", posted
    finally:
        server.shutdown()
        server.server_close()


def drawn_by_spark(ply: Path, eye: torch.Tensor, scratch: Path) -> np.ndarray:
    """The model from `eye` (viewers' world), looking at the origin, y up: (PX, PX, 3) in 0..255."""
    assert CHROMIUM is not None
    view = {"px": PX, "fov": VIEW.fov_y_deg, "eye": eye.tolist()}
    with served(ply) as (address, posted):
        browser = subprocess.Popen(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader", f"--user-data-dir={scratch / 'profile'}",
                f"--window-size={PX},{PX}", f"{address}#{quote(json.dumps(view))}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            kind, body = posted.get(timeout=180)
        finally:
            browser.terminate()
            browser.wait()
    assert kind == "/picture", body.decode()
    with Image.open(io.BytesIO(base64.b64decode(body.partition(b",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def extent(picture: np.ndarray) -> np.ndarray:
    """(top, bottom, left, right) of what stands out from white, in pixels."""
    there = np.abs(255 - picture).max(-1) > 25
    return np.array([side for axis in (1, 0) for side in np.flatnonzero(there.any(axis))[[0, -1]]])


@needs_spark
@pytest.mark.parametrize("view", [0, 1])
def test_a_public_viewer_shows_what_the_page_and_the_turntable_show(tmp_path: Path, view: int) -> None:
    """Spark with its own settings, from two sides; 0 is where the page opens. Upright, and as large."""
    start = replace(VIEW, azimuth_deg=90.0 * view, spin_deg_s=0.0)
    save_viewer_ply(tmp_path / "model.ply", sieve(), NATIVE_PX, VIEW)
    write_viewer(tmp_path / "page.html", sieve(), "model", native_px=NATIVE_PX, view=start, bare=True)
    page = screenshot(tmp_path / "page.html", tmp_path / "page", ready=lambda p: ink(p) > 0, px=PX)
    table = pixels(turntable(sieve(), VIEW, 4, NATIVE_PX, PX))[view]
    drawn = drawn_by_spark(tmp_path / "model.ply", y_up(ring(PX)).c2w[view, :3, 3], tmp_path)
    for expected in (page, table):
        assert iou(drawn, expected) > 0.97 and psnr(drawn, expected) > 36
        assert np.abs(extent(drawn) - extent(expected)).max() <= 1
        for turned in (expected[::-1], expected[:, ::-1], np.rot90(expected)):
            assert psnr(drawn, turned) < 25  # these the numbers above would tell apart
