"""Which cells of a grid lie inside a closed mesh: how often its surface winds round each.

Signed crossings are summed along each column, so closed parts that overlap (a seat in its frame) count once.
"""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from aligncvc.scene.triangles import rasterise_triangles

NUDGE = 1e-4 * np.array([0.7548776662, 0.5698402910, 0.3819660113])
"""Cells are moved by this share of a cell: no centre then lies on an edge that two triangles share."""


def occupancy(mesh: trimesh.Trimesh, grid: int, extent: float = 1.0) -> NDArray[np.bool_]:
    """(grid, grid, grid) over [-extent, extent]^3, x first: is the cell's centre inside the mesh?"""
    cell = 2 * extent / grid
    corners = (np.asarray(mesh.vertices)[mesh.faces] + extent) / cell + NUDGE
    edges = corners[:, 1:, :2] - corners[:, :1, :2]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    facing = np.sign(area).astype(np.int64)
    crossings = np.zeros((grid * grid, grid + 1), np.int64)
    for face, pixel, weights in rasterise_triangles(corners[..., :2], grid, grid):
        z = (corners[face, :, 2] * weights).sum(1)
        above = np.ceil(z - 0.5).clip(0, grid).astype(np.int64)  # the first cell with its centre over it
        np.add.at(crossings, (pixel, above), facing[face])
    inside = np.cumsum(crossings, 1)[:, :grid] != 0
    return inside.reshape(grid, grid, grid).transpose(1, 0, 2)  # pixels are rows of y
