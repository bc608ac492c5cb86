"""A loopback copy of Objaverse's layout with as many boxes as one likes, a tenth of them broken."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "objects"))
from object_server import Site

from aligncvc.objects.listing import ObjectRow, write_list

BROKEN = {
    "truncated": "the connection ended after 0 of",
    "wrong hash": "differs from the expected",
    "malformed": "cut short",
    "timeout": "the server stalled for 0.5 s",
}
"""What the failure table says, by what is wrong."""
PATIENCE = {"attempts": 2, "stall_seconds": 0.5}


class Always(list[str]):
    """A behaviour that the server keeps, request after request."""

    def pop(self, _: int = 0) -> str:  # type: ignore[override]
        return self[0]


def box(number: int) -> bytes:
    """A GLB that is like no other."""
    sides = 0.4 + np.random.default_rng(number).random(3)
    mesh = trimesh.creation.box(extents=sides)
    mesh.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial())
    return trimesh.Scene(mesh).export(file_type="glb")


def fault_of(number: int) -> str | None:
    """What is wrong with the nth object: every tenth has one of the four faults."""
    return list(BROKEN)[number // 10 % len(BROKEN)] if number % 10 == 7 else None


def uid(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


def make_hub(count: int, listed: Path) -> Site:
    """The site's files and behaviours, and the list of its objects with the hashes that they should have."""
    files: dict[str, bytes] = {}
    script: dict[str, list[str]] = {}
    paths: dict[str, str] = {}

    def rows() -> Iterator[ObjectRow]:
        for number in range(count):
            name, fault = uid(number), fault_of(number)
            paths[name] = f"glbs/000-{number // 5000:03d}/{name}.glb"
            at = f"/{paths[name]}"
            files[at] = box(number)
            if fault == "malformed":
                files[at] = files[at][:-40]  # complete on the wire
            if fault in ("truncated", "timeout"):
                script[at] = Always(["truncate 0" if fault == "truncated" else "stall 0"])
            sha256 = hashlib.sha256(files[at] + b"?" * (fault == "wrong hash")).hexdigest()
            yield ObjectRow(name, name, "", name, sha256, "CC0-1.0", "nobody", "train")

    write_list(listed, rows())
    files["/object-paths.json.gz"] = gzip.compress(json.dumps(paths).encode())
    return Site(files, script=script)
