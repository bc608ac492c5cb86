"""A check that a GLB can be read and has something in it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from aligncvc.errors import UserError
from aligncvc.scene.glb import MAGIC


def check_glb(path: Path) -> int:
    """Read a GLB and return its number of triangles.

    Raises UserError with the reason if it is not a complete GLB, does not load, is empty, flat to a point
    or has coordinates that are not finite.
    """
    import trimesh

    header = path.read_bytes()[:12] if path.is_file() else b""
    if len(header) < 12 or header[:4] != MAGIC:
        raise UserError(f"{path.name} is not a GLB file (no glTF header)")
    declared = struct.unpack("<I", header[8:12])[0]
    if declared != path.stat().st_size:
        raise UserError(f"{path.name} is cut short: {path.stat().st_size} of {declared} bytes")
    try:
        scene = trimesh.load_scene(path, file_type="glb", process=False)
        meshes = [m for m in scene.dump() if isinstance(m, trimesh.Trimesh)]
    except Exception as error:  # any reader error means the same thing here: a bad file
        raise UserError(f"{path.name} does not load: {type(error).__name__}: {error}") from None
    triangles = sum(len(mesh.faces) for mesh in meshes)
    if triangles == 0:
        raise UserError(f"{path.name} has no triangles")
    corners = np.concatenate([mesh.vertices[np.unique(mesh.faces)] for mesh in meshes if len(mesh.faces)])
    if not np.isfinite(corners).all():
        raise UserError(f"{path.name} has coordinates that are not finite")
    if float(np.ptp(corners, axis=0).max()) <= 0:
        raise UserError(f"{path.name} is a single point")
    return triangles
