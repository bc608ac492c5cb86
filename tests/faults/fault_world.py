"""Inputs of every command, as small as they may be."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import yaml
from PIL import Image, ImageDraw
from tiny_world import tiny_settings, write_protocol, write_renders

from aligncvc.files import PROJECT_ROOT


def write_world(folder: Path) -> None:
    """Renders, meshes, a manifest of objects that Blender need not see, a photograph, a configuration."""
    write_renders(folder / "renders")
    (folder / "meshes").mkdir()
    glb = min((PROJECT_ROOT / "assets/objects").glob("*.glb"), key=lambda path: path.stat().st_size)
    for name in ("meshes/box.glb", "meshes/other.glb", "here.glb"):
        shutil.copyfile(glb, folder / name)
    settings = tiny_settings(steps=2, save_every=1) | {
        "objects": {"sets": {"mine": {"source": "folder", "path": str(folder / "meshes"), "split": "all"}}},
        "sample": {"methods": {"m": {"steps": 1, "tables": ["table1"]}}},
        "evaluate": {"protocol": write_protocol(folder / "tiny.yaml")},
        "paper": {"showcase": 1, "turntable_views": 2, "viewer_models": 1},
    }
    settings["render"]["max_failure_rate"] = 1.0
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    columns = ["id", "path", "sha256", "licence", "creator", "source", "split", "status", "reason"]
    good = hashlib.sha256(b"another file").hexdigest()
    rows = [
        ["gone", "", "", "CC0-1.0", "A. Maker", "test", "train", "failed", "HTTP 404"],
        ["here", "here.glb", good, "CC0-1.0", "A. Maker", "test", "train", "ok", ""],
    ]
    (folder / "objects.tsv").write_text("".join("\t".join(row) + "\n" for row in (columns, *rows)))
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((12, 12, 50, 50), fill=(200, 30, 30, 255))
    picture.save(folder / "photo.png")
