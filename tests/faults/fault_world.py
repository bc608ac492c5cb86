"""Inputs of every command, as small as they may be."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import yaml
from object_server import Site
from PIL import Image, ImageDraw
from synthetic_hub import PATIENCE, box, make_hub
from tiny_world import tiny_settings, write_protocol, write_renders

from aligncvc.files import PROJECT_ROOT


def write_world(folder: Path) -> None:
    """Renders, meshes, a manifest of one object that is there, a photograph, a configuration."""
    write_renders(folder / "renders")
    (folder / "meshes").mkdir()
    glb = min((PROJECT_ROOT / "assets/objects").glob("*.glb"), key=lambda path: path.stat().st_size)
    for name in ("box.glb", "other.glb"):
        shutil.copyfile(glb, folder / "meshes" / name)
    (folder / "here.glb").write_bytes(box(0))
    settings = tiny_settings(steps=2, save_every=1) | {
        "objects": {"sets": {"mine": {"source": "folder", "path": str(folder / "meshes"), "split": "all"}}},
        "sample": {"methods": {"m": {"steps": 1, "tables": ["table1"]}}},
        "evaluate": {"protocol": write_protocol(folder / "tiny.yaml")},
        "paper": {"showcase": 1, "turntable_views": 2, "viewer_models": 1},
    }
    settings["render"]["max_failure_rate"] = 1.0
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    columns = ["id", "path", "sha256", "licence", "creator", "source", "split", "status", "reason"]
    good = hashlib.sha256(box(0)).hexdigest()
    rows = [
        ["gone", "", "", "CC0-1.0", "A. Maker", "test", "train", "failed", "HTTP 404"],
        ["here", "here.glb", good, "CC0-1.0", "A. Maker", "test", "train", "ok", ""],
    ]
    (folder / "objects.tsv").write_text("".join("\t".join(row) + "\n" for row in (columns, *rows)))
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((12, 12, 50, 50), fill=(200, 30, 30, 255))
    picture.save(folder / "photo.png")


def make_long_list(folder: Path) -> Site:
    """A list that is cut into shards, of one shard with two objects; the site that serves them."""
    return make_hub(2, folder / "list.tsv")


def write_sharded(folder: Path, url: str) -> None:
    """The configuration whose training set is that list. url: of the site."""
    train = {"source": "objaverse", "list": str(folder / "list.tsv"), "path": url}
    settings = {
        "objects": {"shard_size": 2, **PATIENCE, "sets": {"train": train, "eval": {}}},
        "render": {"size_px": 32, "ring_views": 4, "max_failure_rate": 1.0},
        "pretrain": {"sets": ["train"]},
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(settings))
