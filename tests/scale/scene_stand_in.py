"""In Blender's place where thousands of objects are rendered: boxes, by the same job file and events.

`python -m scene_stand_in JOB.json`. Each ray meets the box of the file's bounds; colours are the sides'.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def bounds(path: str) -> np.ndarray:
    """(2, 3) corners of a GLB's bounding box, z up."""
    data = Path(path).read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    low, high = (np.array(document["accessors"][self_position(document)][key]) for key in ("min", "max"))
    return np.array([[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]])


def self_position(document: dict[str, Any]) -> int:
    return document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]


def draw(job: dict[str, Any], path: str) -> dict[str, np.ndarray]:
    """What `blender_scene` would write: views, and how the object was normalised."""
    corners = bounds(path)
    centre, size = corners.mean(0), np.linalg.norm(corners[1] - corners[0]) / 2
    half = (corners[1] - corners[0]) / 2 / size
    c2w, side = np.asarray(job["c2w"]), job["width"]
    at = (np.arange(side) + 0.5 - side / 2) / job["focal_px"]
    x, y = np.meshgrid(at, at)
    rays = np.einsum("vij,hwj->vhwi", c2w[:, :3, :3], np.stack([x, y, np.ones_like(x)], -1))
    rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    origin = c2w[:, None, None, :3, 3]
    one, other = (-half - origin) / rays, (half - origin) / rays
    near, far = np.minimum(one, other), np.maximum(one, other)
    enter, axis = near.max(-1), near.argmax(-1)
    hit = enter < far.min(-1)
    normals = np.take_along_axis(-np.sign(rays), axis[..., None], -1) * (axis[..., None] == np.arange(3))
    colour = (90 + 50 * axis[..., None] + 20 * np.arange(3)).astype(np.uint8)
    rgba = np.concatenate([colour, np.full_like(colour[..., :1], 255)], -1) * hit[..., None]
    return {
        "rgba": rgba.astype(np.uint8),
        "depth": np.where(hit, enter, 0).astype(np.float32),  # rays have z = 1 in the camera
        "normals": (normals * hit[..., None]).astype(np.float32),
        "scale": np.asarray(1 / size),
        "offset": -centre / size,
        "stretch": np.ones(3),
        "heading_deg": np.asarray(0.0),
    }


def run(job: dict[str, Any]) -> None:
    with Path(job["progress"]).open("a", encoding="utf-8") as progress:

        def tell(event: str, **facts: Any) -> None:
            progress.write(json.dumps({"event": event, **facts}) + "\n")
            progress.flush()

        tell("ready", seconds=0.0, blender="stand-in", blenderproc="stand-in")
        for entry in job["objects"]:
            if os.getppid() != job["parent_pid"]:
                return
            tell("start", index=entry["index"])
            began = time.perf_counter()
            np.savez(Path(job["output"]) / f"{entry['index']}.npz", **draw(job, entry["path"]))
            tell("done", index=entry["index"], seconds=time.perf_counter() - began)
        tell("end")


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
