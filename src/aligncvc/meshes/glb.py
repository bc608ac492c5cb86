"""Writing meshes as GLB, y up: our (x, y, z) is its (x, z, -y), and our front, -y, is its +z.

Colours in memory are sRGB as in images; glTF keeps those of vertices linear, and they are converted.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from aligncvc.files import atomic_path
from aligncvc.meshes.paint import Paint, to_linear

Y_UP_TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""glTF -> ours: (x, y, z) -> (x, -z, y)."""

FLOAT, UINT16, UINT32, ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 5126, 5123, 5125, 34962, 34963


def save_glb(path: Path | str, mesh: trimesh.Trimesh) -> None:
    """Write a mesh with vertex colours as GLB, y up, atomically; the bytes depend on the mesh alone.

    Unlit (KHR_materials_unlit): the colours are those of the object as seen, light included. A texture
    becomes vertex colours. Raises ValueError for a mesh without faces.
    """
    if not len(mesh.faces):
        raise ValueError("a mesh without faces cannot be a GLB")
    turn = Y_UP_TO_Z_UP[:3, :3]  # ours -> glTF is its transpose: rows times the matrix
    rgba = Paint.of(mesh).baked(mesh.faces)
    colours = np.concatenate([to_linear(rgba[:, :3]), rgba[:, 3:]], 1)
    arrays: list[tuple[NDArray[Any], dict[str, Any], int]] = [
        (
            (mesh.vertices @ turn).astype("<f4"),
            {"componentType": FLOAT, "type": "VEC3", "min": [], "max": []},
            ARRAY_BUFFER,
        ),
        ((mesh.vertex_normals @ turn).astype("<f4"), {"componentType": FLOAT, "type": "VEC3"}, ARRAY_BUFFER),
        (
            (colours * 65535).round().astype("<u2"),
            {"componentType": UINT16, "type": "VEC4", "normalized": True},
            ARRAY_BUFFER,
        ),
        (
            mesh.faces.reshape(-1).astype("<u4"),
            {"componentType": UINT32, "type": "SCALAR"},
            ELEMENT_ARRAY_BUFFER,
        ),
    ]
    blob = b""
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    for values, accessor, target in arrays:
        if "min" in accessor:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        data = values.tobytes()
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(data), "target": target})
        accessors.append({"bufferView": len(accessors), "count": len(values), **accessor})
        blob += data + b"\0" * (-len(data) % 4)
    binary = struct.pack("<I4s", len(blob), b"BIN\0") + blob
    with atomic_path(path) as temporary:
        temporary.write_bytes(container(_document(views, accessors, len(blob)), binary))


def _document(views: list[dict[str, Any]], accessors: list[dict[str, Any]], length: int) -> dict[str, Any]:
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}
    return {
        "asset": {"version": "2.0", "generator": "aligncvc"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "model"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [
            {
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "bufferViews": views,
        "accessors": accessors,
        "buffers": [{"byteLength": length}],
    }


def container(document: dict[str, Any], rest: bytes) -> bytes:
    """GLB: header, JSON chunk padded with spaces, further chunks (Khronos glTF 2.0, section 4.4)."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + rest
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
