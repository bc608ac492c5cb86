"""The wheel, installed outside the checkout: the README's five lines of Python, and the command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from aligncvc.files import PROJECT_ROOT
from aligncvc.scene.gaussians import is_viewer_ply, load_ply

pytestmark = pytest.mark.slow
PARTS = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "src", "config", "assets")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel, built from a copy of the checkout that is then removed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    for name in PARTS:
        path = PROJECT_ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=ignore)
        else:
            shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "--isolated", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source)]
    subprocess.run(build, check=True)
    assert not (source / "build").exists() and not list((source / "src").glob("*.egg-info"))
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    shutil.rmtree(source)
    return target


def run(installed: Path, work: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `work` with the wheel and this environment's packages, and without the checkout."""
    kept = ("PATH", "HOME", "LANG")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(work / "xdg")}
    return subprocess.run(
        [sys.executable, *command], cwd=work, env=environment, text=True, capture_output=True, check=False
    )


def five_lines() -> str:
    """The Python of the README."""
    (block,) = re.findall(r"```python\n(.*?)```", (PROJECT_ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return str(block)


def test_five_lines_of_python_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    photo = Image.new("RGB", (320, 240), (120, 160, 200))
    drawn = ImageDraw.Draw(photo)
    drawn.rectangle((120, 40, 135, 210), fill=(120, 70, 30))
    drawn.rectangle((120, 120, 210, 140), fill=(150, 90, 40))
    drawn.rectangle((195, 140, 210, 210), fill=(120, 70, 30))
    photo.save(tmp_path / "chair.jpg", quality=95)
    lines = five_lines()
    assert len(lines.strip().splitlines()) <= 5
    where = "\nimport aligncvc; print(aligncvc.__file__)"
    found = run(installed, tmp_path, "-c", lines + where)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip().endswith(str(installed / "aligncvc/__init__.py"))
    assert is_viewer_ply(tmp_path / "chair.ply") and len(load_ply(tmp_path / "chair.ply")) > 1000
    assert not (installed / "aligncvc/data/.cache").exists()
    assert list((tmp_path / "xdg/aligncvc/splat").glob("*.so"))


def test_the_command_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    script = (installed / "bin/aligncvc").read_text(encoding="utf-8")
    assert "from aligncvc.__main__ import main" in script
    command = str(installed / "bin/aligncvc")
    found = run(installed, tmp_path, command, "checkpoints", "verify", "demo-teacher", "u2netp")
    assert found.stdout == "demo-teacher: ok\nu2netp: ok\n", found.stderr
    shown = run(installed, tmp_path, "-m", "aligncvc", "config", "protocol", "demo")
    assert shown.returncode == 0 and shown.stdout.startswith("# demo-"), shown.stderr
    wrong = run(installed, tmp_path, command, "sample", "no.jpg", "--out", "x.ply")
    assert wrong.returncode == 2 and "there is no picture at no.jpg" in wrong.stderr
