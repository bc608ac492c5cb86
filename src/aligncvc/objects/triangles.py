"""Triangles of models as they come: their normals, equal corners made one, repeated faces dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CREASE_DEG = 40.0
"""Edges sharper than this stay sharp in models that come without normals."""


def face_normals(positions: NDArray[Any], faces: NDArray[Any]) -> NDArray[np.float64]:
    """Unnormalised normals (F,3), twice the area long."""
    a, b, c = (positions[faces[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a)


def unit_normals(positions: NDArray[Any], faces: NDArray[Any], given: NDArray[Any]) -> NDArray[np.float64]:
    """Normals (V,3) made unit length; missing ones are taken from the adjacent faces, weighted by area."""
    given = np.nan_to_num(np.asarray(given, np.float64))
    summed = np.zeros_like(given)
    np.add.at(summed, faces.T, face_normals(positions, faces))
    given = np.where(np.linalg.norm(given, axis=1)[:, None] < 1e-6, summed, given)
    length = np.linalg.norm(given, axis=1)
    up = np.array([0.0, 1.0, 0.0])
    return np.where(length[:, None] > 1e-12, given / np.maximum(length, 1e-12)[:, None], up)


def corner_normals(positions: NDArray[Any], faces: NDArray[Any]) -> NDArray[Any]:
    """Unit normals (F,3,3) at every face's corners, smooth across edges flatter than CREASE_DEG.

    Each corner averages (weighted by area) the faces around its vertex whose planes lie within that angle,
    turned to the corner's own side: models are full of neighbours wound the other way.
    """
    own = face_normals(positions, faces)
    unit = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-300)
    _, vertex = np.unique(positions[faces.reshape(-1)], axis=0, return_inverse=True)
    order = np.argsort(vertex.reshape(-1), kind="stable")
    face = order // 3
    _, start, count = np.unique(vertex.reshape(-1)[order], return_index=True, return_counts=True)
    start, count = np.repeat(start, count), np.repeat(count, count)
    position = np.arange(len(order)) - start
    summed = own[face]
    limit = np.cos(np.radians(CREASE_DEG))
    for shift in range(1, int(count.max())):
        here = np.flatnonzero(count > shift)
        there = face[start[here] + (position[here] + shift) % count[here]]
        cosine = np.einsum("fi,fi->f", unit[face[here]], unit[there])
        weight = np.sign(cosine) * (np.abs(cosine) > limit)
        summed[here] += weight[:, None] * own[there]
    normals = np.empty_like(summed)
    normals[order] = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-300)
    return normals.reshape(-1, 3, 3)


def unique_vertices(columns: list[NDArray[np.float32]]) -> tuple[list[NDArray[Any]], NDArray[np.uint32]]:
    """Merge corners (3F rows) equal in every column: (columns of V rows, faces (F,3))."""
    widths = np.cumsum([c.shape[1] for c in columns])[:-1]
    table = np.concatenate(columns, axis=1) + np.float32(0)  # turns -0 into 0
    rows, merged = np.unique(table, axis=0, return_inverse=True)
    return np.split(rows, widths, axis=1), merged.reshape(-1, 3).astype(np.uint32)


def drop_coincident(positions: list[NDArray[Any]], faces: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Faces of several meshes without those that repeat an earlier triangle, whatever its winding."""
    # Two-sided models often store every triangle twice; a ray tracer shades both at random (black specks).
    low = np.min([p.min(0) for p in positions], 0)
    extent = max(float(np.max([p.max(0) for p in positions], 0).max() - low.min()), 1e-30)
    grid = [np.round((p - low) / extent * 1e5).astype(np.int64) for p in positions]
    _, vertex = np.unique(np.concatenate(grid), axis=0, return_inverse=True)
    offsets = np.cumsum([0, *(len(p) for p in positions)])
    triangles = np.concatenate([vertex.reshape(-1)[f + o] for f, o in zip(faces, offsets, strict=False)])
    _, first = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True)
    keep = np.zeros(len(triangles), bool)
    keep[first] = True
    return [f[k] for f, k in zip(faces, np.split(keep, np.cumsum([len(f) for f in faces])[:-1]), strict=True)]
