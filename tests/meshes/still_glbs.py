"""GLBs of one tetrahedron that readers understand differently, made on the spot."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from aligncvc.scene.glb import container

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], "<f4")
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], "<u2")
KINDS = {"f4": 5126, "i2": 5122, "u2": 5123, "u1": 5121}


def glb(
    attributes: dict[str, np.ndarray], targets: dict[str, np.ndarray] | None = None, **document: Any
) -> bytes:
    """A GLB whose mesh 0 has one primitive. Arrays (N, k); integers but for joints are normalised.

    document: more of the JSON; `extra` are arrays behind the primitive's accessors (matrices (N, 16)).
    """
    blob, views, accessors = b"", [], []

    def add(values: np.ndarray, normalised: bool = False) -> int:
        nonlocal blob
        width = 1 if values.ndim == 1 else values.shape[1]
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": values.nbytes})
        kind = "SCALAR" if width == 1 else "MAT4" if width == 16 else f"VEC{width}"
        entry = {"bufferView": len(views) - 1, "count": len(values), "type": kind}
        entry["componentType"] = KINDS[values.dtype.str[1:]]
        accessors.append(entry | ({"normalized": True} if normalised else {}))
        blob += values.tobytes() + b"\0" * (-values.nbytes % 4)
        return len(accessors) - 1

    extra = document.pop("extra", [])
    primitive: dict[str, Any] = {"indices": add(FACES.reshape(-1))}
    primitive["attributes"] = {
        name: add(values, values.dtype.kind in "iu" and not name.startswith("JOINTS"))
        for name, values in attributes.items()
    }
    if targets:
        primitive["targets"] = [{name: add(values) for name, values in targets.items()}]
    first = len(accessors)
    for values in extra:
        add(values)
    whole = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "bufferViews": views,
        "accessors": accessors,
        "buffers": [{"byteLength": len(blob)}],
        **document,
    }
    for skin in whole.get("skins", []):
        skin["inverseBindMatrices"] = first
    return container(whole, struct.pack("<I4s", len(blob), b"BIN\0") + blob)


def skinned() -> bytes:
    """An armature of scale 0.01 whose joint lifts the body by 5; the body's own node counts for nothing."""
    ones, none = np.tile(np.array([1, 0, 0, 0], "<f4"), (4, 1)), np.zeros((4, 4), "<u1")
    inverse = np.diag([100, 100, 100, 1]).astype("<f4").T.reshape(1, 16)
    nodes = [
        {"children": [1, 2]},
        {"scale": [0.01] * 3, "translation": [0, 5, 0], "children": [3]},
        {"mesh": 0, "skin": 0, "translation": [7, 7, 7]},
        {"name": "hip"},
    ]
    body = {"POSITION": POINTS, "JOINTS_0": none, "WEIGHTS_0": ones}
    return glb(body, nodes=nodes, skins=[{"joints": [3]}], extra=[np.ascontiguousarray(inverse)])


def turned_and_bent() -> bytes:
    """Two joints, a quarter turn about z apart: the first two vertices follow one, the others both."""
    weights = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]], "<f4")
    joints = np.tile(np.array([0, 1, 0, 0], "<u1"), (4, 1))
    half = float(np.sqrt(0.5))
    nodes = [{"mesh": 0, "skin": 0}, {"children": [2]}, {"rotation": [0, 0, half, half]}]
    inverse = np.tile(np.eye(4, dtype="<f4").reshape(1, 16), (2, 1))
    body = {"POSITION": POINTS, "JOINTS_0": joints, "WEIGHTS_0": weights}
    scenes = [{"nodes": [0, 1]}]
    return glb(body, nodes=nodes, scenes=scenes, skins=[{"joints": [1, 2]}], extra=[inverse])


def morphed(weight: float) -> bytes:
    """A morph target that makes the body longer along x."""
    target = np.zeros((4, 3), "<f4")
    target[1, 0] = 4
    return glb({"POSITION": POINTS}, {"POSITION": target}, nodes=[{"mesh": 0, "weights": [weight]}])


def quantised() -> bytes:
    values = (POINTS / 3 * 32767).round().astype("<i2")
    padded = np.concatenate([values, np.zeros((4, 1), "<i2")], 1)[:, :3].copy()
    names = ["KHR_mesh_quantization"]
    nodes = [{"mesh": 0, "scale": [3, 3, 3]}]
    return glb({"POSITION": padded}, nodes=nodes, extensionsUsed=names, extensionsRequired=names)


def two_scenes() -> bytes:
    """The second is the default; the first has a larger body."""
    nodes = [{"mesh": 0, "scale": [9, 9, 9]}, {"mesh": 0}]
    return glb({"POSITION": POINTS}, nodes=nodes, scenes=[{"nodes": [0]}, {"nodes": [1]}], scene=1)


def animated() -> bytes:
    """A turn that a player would show; the object is what the node says."""
    half = float(np.sqrt(0.5))
    times = np.array([0, 1], "<f4")
    turns = np.array([[0, 0, half, half], [0, 0, half, half]], "<f4")
    channel = {"sampler": 0, "target": {"node": 0, "path": "rotation"}}
    moves = [{"channels": [channel], "samplers": [{"input": 2, "output": 3}]}]
    return glb({"POSITION": POINTS}, animations=moves, extra=[times, turns])


def coloured() -> bytes:
    """Red COLOR_0 and no material."""
    return glb({"POSITION": POINTS, "COLOR_0": np.tile(np.array([255, 0, 0, 255], "<u1"), (4, 1))})


def instanced() -> bytes:
    """Two bodies, by an optional extension that Blender's importer knows and trimesh does not."""
    name, shifts = "EXT_mesh_gpu_instancing", np.array([[0, 0, 0], [4, 0, 0]], "<f4")
    nodes = [{"mesh": 0, "extensions": {name: {"attributes": {"TRANSLATION": 2}}}}]
    return glb({"POSITION": POINTS}, nodes=nodes, extensionsUsed=[name], extra=[shifts])
