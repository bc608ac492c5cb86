"""Writing meshes as GLB, y up: our (x, y, z) is its (x, z, -y), and our front, -y, is its +z.

Colours in memory are sRGB as in images; glTF keeps those of vertices linear, and they are converted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from aligncvc.meshes.paint import Paint, to_linear
from aligncvc.scene.glb import Material, Part, write_glb

Y_UP_TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""glTF -> ours: (x, y, z) -> (x, -z, y)."""


def save_glb(path: Path | str, mesh: trimesh.Trimesh) -> None:
    """Write a mesh with vertex colours as GLB, y up, atomically; the bytes depend on the mesh alone.

    Unlit (KHR_materials_unlit): the colours are those of the object as seen, light included. A texture
    becomes vertex colours. Raises ValueError for a mesh without faces.
    """
    if not len(mesh.faces):
        raise ValueError("a mesh without faces cannot be a GLB")
    turn = Y_UP_TO_Z_UP[:3, :3]  # ours -> glTF is its transpose: rows times the matrix
    rgba = Paint.of(mesh).baked(mesh.faces)
    part = Part(
        positions=(mesh.vertices @ turn).astype(np.float32),
        faces=mesh.faces.astype(np.uint32),
        normals=(mesh.vertex_normals @ turn).astype(np.float32),
        uv=None,
        material=Material(colour=(1.0, 1.0, 1.0, 1.0), unlit=True),
        colours=np.concatenate([to_linear(rgba[:, :3]), rgba[:, 3:]], 1),
    )
    write_glb(path, [part])
