"""Triangle meshes as images: a plain z-buffer on the CPU, unlit, both sides, with perspective, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from aligncvc.meshes.paint import Paint
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.triangles import rasterise_triangles
from aligncvc.splat import Rendering

Array = NDArray[Any]
SAME_SURFACE = 0.02
"""Samples of a pixel within this depth of its nearest belong to one surface; their depths are averaged."""


def draw_mesh(
    mesh: trimesh.Trimesh, cameras: Cameras, background: float = 1.0, *, supersample: int = 2
) -> Rendering:
    """A mesh seen by (V, 4, 4) cameras.

    Depth is z of the nearest surface, 0 where there is none (`splat.rasterise` weights it by alpha).
    supersample: samples a side of each pixel. Triangles that reach behind a camera's near plane are left out;
    transparent materials are drawn opaque.
    """
    fine = cameras.resized(cameras.width * supersample, cameras.height * supersample)
    paint = Paint.of(mesh)
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    drawn = []
    for w2c in fine.w2c.double().numpy():
        rgb, alpha, depth = _draw_view(vertices, faces, paint, w2c, fine)
        drawn.append(_resolved(rgb * alpha[..., None], alpha, depth, supersample))
    colour, share, z = (torch.from_numpy(np.stack(layer)) for layer in zip(*drawn, strict=True))
    return Rendering(
        (colour + background * (1 - share[..., None])).permute(0, 3, 1, 2).float(),
        share[:, None].float(),
        z[:, None].float(),
    )


def _resolved(rgb: Array, alpha: Array, depth: Array, side: int) -> tuple[Array, Array, Array]:
    """Means over pixels of side x side samples; of depths, over those on the nearest surface."""
    places = [np.s_[row::side, column::side] for row in range(side) for column in range(side)]
    nearest = np.minimum.reduce([np.where(depth[at] > 0, depth[at], np.inf) for at in places])
    same = [(depth[at] > 0) & (depth[at] <= nearest + SAME_SURFACE) for at in places]
    total = np.add.reduce([np.where(on, depth[at], 0) for on, at in zip(same, places, strict=True)])
    count = np.sum(same, 0).clip(1)
    colour, share = (np.add.reduce([layer[at] for at in places]) / side**2 for layer in (rgb, alpha))
    return colour, share, total / count


def _draw_view(
    vertices: Array, faces: Array, paint: Paint, w2c: Array, cameras: Cameras
) -> tuple[Array, Array, Array]:
    """One view without anti-aliasing: rgb (H, W, 3), alpha (H, W), depth (H, W)."""
    width, height = cameras.width, cameras.height
    x, y, z = w2c[:3, :3] @ vertices.T + w2c[:3, 3:]
    ahead = np.maximum(z, 1e-6)
    pixels = np.stack([x, y], 1) * (cameras.focal_px / ahead)[:, None] + [width / 2, height / 2]
    kept = np.flatnonzero((z[faces] > cameras.near).all(1))
    faces = faces[kept]
    depth, face = np.full(width * height, np.inf), np.zeros(width * height, np.int64)
    weights = np.zeros((width * height, 3))
    for triangle, pixel, flat_weights in rasterise_triangles(pixels[faces], width, height):
        share = flat_weights / z[faces[triangle]]
        nearness = share.sum(1)  # 1 / z is affine in the image
        at = 1 / nearness
        order = np.argsort(-at, kind="stable")  # of equal pixels numpy keeps the last assignment: the nearest
        order = order[at[order] < depth[pixel[order]]]
        where = pixel[order]
        depth[where], face[where] = at[order], triangle[order]
        weights[where] = (share / nearness[:, None])[order]
    hit = np.isfinite(depth)
    rgba = np.zeros((width * height, 4))
    first, second = (pixels[faces[:, i]] - pixels[faces[:, 0]] for i in (1, 2))
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    rgba[hit] = paint.at(kept[face[hit]], faces[face[hit]], weights[hit], area[face[hit]])
    shape = (height, width)
    return rgba[:, :3].reshape(*shape, 3), hit.reshape(shape) * 1.0, np.where(hit, depth, 0).reshape(shape)
