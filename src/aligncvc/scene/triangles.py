"""Which pixels triangles cover, in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aligncvc.scene.cameras import Cameras

Array = NDArray[Any]
CHUNK = 4_000_000
"""Candidate pixels that are tested at once: about 300 MB."""


def rasterise_triangles(corners: Array, width: int, height: int) -> Iterator[tuple[Array, Array, Array]]:
    """Pixel centres (at half-integers) in triangles (T, 3, 2), in chunks of bounded size.

    Each chunk: triangle (F,), pixel (F,) = row * width + column, barycentric weights in the image (F, 3).
    """
    low = np.ceil(corners.min(1) - 0.5).astype(np.int64).clip(0)
    high = np.floor(corners.max(1) - 0.5).astype(np.int64)
    high = np.minimum(high, [width - 1, height - 1])
    spans = (high - low + 1).clip(0)
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    counts = np.where(np.abs(area) > 1e-12, spans[:, 0] * spans[:, 1], 0)
    alive = np.flatnonzero(counts)
    groups = np.cumsum(counts[alive]) // CHUNK
    for chunk in np.split(alive, np.flatnonzero(np.diff(groups)) + 1):
        repeats = counts[chunk]
        face = np.repeat(chunk, repeats)
        place = np.arange(len(face)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        column = low[face, 0] + place % spans[face, 0]
        row = low[face, 1] + place // spans[face, 0]
        x, y = column + 0.5 - corners[face, 0, 0], row + 0.5 - corners[face, 0, 1]
        second = (x * edge2[face, 1] - y * edge2[face, 0]) / area[face]
        third = (y * edge1[face, 0] - x * edge1[face, 1]) / area[face]
        first = 1 - second - third
        inside = (first >= 0) & (second >= 0) & (third >= 0)
        weights = np.stack([first[inside], second[inside], third[inside]], 1)
        yield face[inside], row[inside] * width + column[inside], weights


def silhouette(points: Array, faces: Array, cameras: Cameras) -> NDArray[np.bool_]:
    """(V, H, W): the pixels that (F, 3) triangles of (N, 3) points touch, sampled at four places each.

    Triangles that reach behind a camera's near plane are left out.
    """
    fine = cameras.resized(cameras.width * 2, cameras.height * 2)
    middle, views = np.array([fine.width / 2, fine.height / 2]), []
    for w2c in fine.w2c.double().numpy():
        x, y, z = w2c[:3, :3] @ points.T + w2c[:3, 3:]
        pixels = np.stack([x, y], 1) * (fine.focal_px / np.maximum(z, 1e-6))[:, None] + middle
        hit = np.zeros(fine.width * fine.height, bool)
        corners = pixels[faces[(z[faces] > fine.near).all(1)]]
        for _, pixel, _ in rasterise_triangles(corners, fine.width, fine.height):
            hit[pixel] = True
        views.append(hit.reshape(cameras.height, 2, cameras.width, 2).any((1, 3)))
    return np.stack(views)
