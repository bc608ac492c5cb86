"""What a run leaves behind: nothing in the home folder or the temporary one, and nobody is told of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh
from PIL import Image, ImageDraw

from aligncvc.files import PROJECT_ROOT
from aligncvc.privacy import CACHES, NO_REPORTS, keep_to_ourselves

HOMES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
TEMPORARY = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")


def left_behind(elsewhere: Path, *command: str) -> list[str]:
    """Run Python in an environment whose home and temporary folders are empty; what is in them afterwards."""
    unset = {*NO_REPORTS, *CACHES}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    for name in (*HOMES, *TEMPORARY):
        environment[name] = str(elsewhere / ("tmp" if name in TEMPORARY else name.lower()))
        Path(environment[name]).mkdir(parents=True, exist_ok=True)
    environment["PYTHONPATH"] = str(PROJECT_ROOT / "src")
    subprocess.run([sys.executable, *command], env=environment, cwd=PROJECT_ROOT, check=True, timeout=600)
    folders = {Path(environment[name]) for name in (*HOMES, *TEMPORARY)}
    return sorted(str(p.relative_to(elsewhere)) for p in elsewhere.rglob("*") if p not in folders)


def test_a_photograph_leaves_only_its_model(tmp_path: Path) -> None:
    """With a background to remove, so that onnxruntime is loaded and runs."""
    photo = Image.new("RGB", (320, 240), (90, 120, 200))
    ImageDraw.Draw(photo).ellipse((110, 60, 210, 180), fill=(180, 40, 30))
    photo.save(tmp_path / "photo.png")
    out = tmp_path / "out/model.ply"
    found = left_behind(
        tmp_path / "elsewhere", "-m", "aligncvc.sample", str(tmp_path / "photo.png"), "--out", str(out),
        "--config", "config/smoke.yaml", "--method", "aware_2",
    )  # fmt: skip
    assert out.is_file()
    assert found == []


@pytest.mark.blender
def test_a_rendered_object_leaves_only_its_renders(tmp_path: Path) -> None:
    glb = trimesh.Scene(trimesh.creation.box(extents=(1.0, 0.3, 0.7))).export(file_type="glb")
    (tmp_path / "box.glb").write_bytes(glb)
    rows = [
        ["id", "path", "sha256", "licence", "creator", "source", "split", "status", "reason"],
        ["box", "box.glb", hashlib.sha256(glb).hexdigest(), "CC0-1.0", "x", "test", "eval", "ok", ""],
    ]
    (tmp_path / "manifest.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    found = left_behind(
        tmp_path / "elsewhere", "-m", "aligncvc.render", "--config", "config/smoke.yaml",
        "--object-set", "eval",
        "--objects", str(tmp_path / "manifest.tsv"), "--out", str(tmp_path / "renders"),
    )  # fmt: skip
    assert (tmp_path / "renders/box/cameras.json").is_file()
    assert found == []


def test_figures_as_a_library_leave_nothing(tmp_path: Path) -> None:
    plot = (
        "import aligncvc.paper.figures, matplotlib.pyplot as plt\n"
        "plt.plot([1, 2]); plt.savefig('/dev/null', format='png')"
    )
    assert left_behind(tmp_path / "elsewhere", "-c", plot) == []


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*NO_REPORTS, *CACHES):
        monkeypatch.setenv(name, "theirs")
    keep_to_ourselves()
    assert {os.environ[name] for name in (*NO_REPORTS, *CACHES)} == {"theirs"}
    for name in (*NO_REPORTS, *CACHES):
        monkeypatch.delenv(name)
    keep_to_ourselves(tmp_path)  # no checkout: reports are off all the same, caches are the user's
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1" and not set(CACHES) & set(os.environ)
