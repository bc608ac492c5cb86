"""A surface from 3D Gaussians: depth maps from all round, carved out of a grid of cells, marching cubes.

Every cell has a signed distance to the surface that each view sees, cut off at `BAND` cells: positive in
front, negative behind. Views vote: a cell is free where a share `FREED_BY` of the views that see it (all but
those from which it lies deep behind the surface) look through it, and no fewer than `AGREE`. A mean over
views (Curless and Levoy 1996) would thicken thin walls more, and the deepest views alone would carve away
most of a reconstructor's cloud. What fewer than `AGREE` views see into is solid.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Rendering, rasterise

Floats = NDArray[np.float32]
BAND = 3.0
"""Signed distances are cut off at this many cells."""
AGREE = 3
"""Views that must look through a cell to free it, at least."""
FREED_BY = 0.45
"""Share of the views seeing a cell that frees it by looking through it: a ball of Gaussians then has its
surface within a cell of the depth at which it is drawn. Less carves clouds away, more grows them."""
OPAQUE, EMPTY = 0.5, 0.2
"""Above the first alpha a pixel shows a surface, at depth sum w z / sum w; below the second it looks through
everything; between the two it says nothing."""
MIN_COSINE = 0.2
"""Distances along the axis are shortened to those from the surface, by the surface's slope, down to this."""
SMALLEST_PART = 0.01
"""Parts with less than this fraction of the solid cells are specks, and dropped."""

VIEWS_BY_ELEVATION = {-65.0: 5, -25.0: 8, 20.0: 9, 65.0: 6}
DISTANCE, FOV_Y_DEG, SIZE_PX = 3.0, 42.0, 128


@functools.cache
def _sphere_of_cameras() -> Cameras:
    """28 cameras round the unit sphere that look at its centre; rings are turned against each other."""
    poses = [
        (360.0 * (i + 0.5 * (ring % 2)) / count, elevation)
        for ring, (elevation, count) in enumerate(VIEWS_BY_ELEVATION.items())
        for i in range(count)
    ]
    azimuths, elevations = zip(*poses, strict=True)
    return orbit(azimuths, elevations, distance=DISTANCE, fov_y_deg=FOV_Y_DEG, size_px=SIZE_PX)


def mesh_from_gaussians(gaussians: Gaussians, *, voxel: float = 0.03) -> trimesh.Trimesh | None:
    """(N, ..) Gaussians -> closed surface with vertex colours and outward normals; None if nothing is opaque.

    voxel: edge of the cells in (0, 0.5] (else ValueError), world units. What lies outside [-1, 1]^3 is lost.
    """
    if not 0 < voxel <= 0.5:
        raise ValueError(f"voxel {voxel} is not in (0, 0.5]")
    cameras = _sphere_of_cameras()
    with torch.no_grad():
        drawn = rasterise(gaussians.detach().to("cpu"), cameras, background=0.0)
    seen = _DepthMaps.of(drawn, cameras)
    box = _bounds(gaussians, voxel)
    if box is None or not (seen.depth > 0).any():
        return None
    axes = [low + voxel * np.arange(count, dtype=np.float32) for low, count in zip(*box, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    distance = seen.free_distance(points, BAND * voxel).reshape([len(a) for a in axes])
    distance = _without_specks(np.pad(distance, 1, constant_values=BAND * voxel), BAND * voxel)
    if not (distance < 0).any():
        return None
    # scikit-image means by "descent" that values fall towards the outside; here they rise, yet its faces come
    # out wound the other way round than trimesh wants them: the test on the volume holds the sign
    vertices, faces, _, _ = marching_cubes(distance, 0.0, spacing=(voxel,) * 3, gradient_direction="descent")
    vertices = (vertices + np.asarray(box[0]) - voxel).astype(np.float32)
    colours = seen.colours(vertices, BAND * voxel)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=(colours * 255).round().astype(np.uint8))
    return mesh


def _bounds(gaussians: Gaussians, voxel: float) -> tuple[list[float], list[int]] | None:
    """Lowest cell centre and number of cells on each axis: a lattice through the origin, within [-1, 1]."""
    means, scales = gaussians.means.detach().cpu(), gaussians.scales.detach().cpu()
    # at opacity o a Gaussian reaches 1/255 at sqrt(2 ln(255 o)) deviations; 3 hold what becomes opaque
    solid = gaussians.opacities.detach().cpu() > 1 / 255
    if not bool(solid.any()):
        return None
    reach = 3 * scales[solid].amax(-1, keepdim=True)
    low = ((means[solid] - reach).amin(0).clamp(-1, 1) / voxel).floor() - 1
    high = ((means[solid] + reach).amax(0).clamp(-1, 1) / voxel).ceil() + 1
    return (low * voxel).tolist(), (high - low + 1).int().tolist()


def _without_specks(distance: Floats, outside: float) -> Floats:
    """Cells of small parts become free. Corners connect, as they do in marching cubes."""
    parts, count = ndimage.label(distance < 0, np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.reshape(-1))
        small = sizes < SMALLEST_PART * sizes[1:].sum()
        small[0] = False
        distance[small[parts]] = outside
    return distance


@dataclass(frozen=True)
class _DepthMaps:
    """What the views see, each with one more pixel that stands for everything beyond the image.

    depth: (V, H * W + 1), 0 where a pixel is empty, -1 where it says nothing. cosine: the same shape, between
    the axis and the surface's normal. colour: (V, H * W + 1, 3) straight, in [0, 1].
    """

    depth: Floats
    cosine: Floats
    colour: Floats
    w2c: Floats
    focal: float
    width: int
    height: int

    @staticmethod
    def of(drawn: Rendering, cameras: Cameras) -> _DepthMaps:
        alpha = drawn.alpha[:, 0]
        opaque = alpha > OPAQUE
        depth = (drawn.depth[:, 0] / alpha.clamp_min(OPAQUE)).where(opaque, torch.zeros(()))
        silent = ((alpha > EMPTY) & ~opaque).numpy()
        colour = (drawn.rgb / drawn.alpha.clamp_min(OPAQUE)).clamp(0, 1).permute(0, 2, 3, 1)
        down, across = (np.gradient(depth.numpy(), axis=axis) for axis in (1, 2))
        slope = (down**2 + across**2) * (cameras.focal_px / depth.clamp_min(1e-3).numpy()) ** 2
        cosine = np.maximum(1 / np.sqrt(1 + slope), MIN_COSINE).astype(np.float32)
        v, h, w = depth.shape
        images = np.where(silent, np.float32(-1), depth.numpy()), cosine, colour.numpy()
        flat = [image.reshape(v, h * w, *image.shape[3:]) for image in images]
        depths, cosines, colours = (np.concatenate([x, np.zeros_like(x[:, :1])], 1) for x in flat)
        w2c = cameras.w2c.numpy().astype(np.float32)
        return _DepthMaps(depths, cosines, colours, w2c, cameras.focal_px, w, h)

    def _look_up(self, view: int, points: Floats) -> tuple[NDArray[np.int64], Floats]:
        """(N, 3) points -> their pixel (the last one beyond the image) and their distance along the axis."""
        x, y, z = self.w2c[view, :3, :3] @ points.T + self.w2c[view, :3, 3:]
        scale = np.float32(self.focal) / np.maximum(z, np.float32(1e-3))
        column = np.floor(x * scale + np.float32(self.width / 2)).astype(np.int32)
        row = np.floor(y * scale + np.float32(self.height / 2)).astype(np.int32)
        inside = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height)
        return np.where(inside, row * self.width + column, self.width * self.height), z

    def _distance(self, view: int, points: Floats, band: float) -> Floats:
        """(N, 3) points -> (N,) signed distances to the view's surface: band if empty, -band if unknown."""
        pixel, z = self._look_up(view, points)
        depth = self.depth[view].take(pixel)
        signed = (depth - z) * self.cosine[view].take(pixel)
        return np.clip(np.where(depth > 0, signed, np.where(depth == 0, band, -band)), -band, band)

    def free_distance(self, points: Floats, band: float) -> Floats:
        """(N, 3) points -> (N,): the largest signed distance that enough views reach (> 0: free)."""
        views = len(self.depth)
        most = min(views, max(AGREE, math.ceil(FREED_BY * views)))
        distance, alive = np.full(len(points), band, np.float32), np.arange(len(points))
        found: list[Floats] = []
        free = np.zeros(len(points), np.int32)
        for view in range(views):
            found.append(self._distance(view, points, band))
            free += found[-1] == band
            # where as many say "free" as can ever be needed, the rest change nothing; now and then: it copies
            if view >= most - 1 and (view - most) % 6 == 5:
                kept = free < most
                alive, points, free, found = alive[kept], points[kept], free[kept], [f[kept] for f in found]
        ranked = np.sort(np.stack(found, 1), 1)
        seeing = (ranked > -band).sum(1)
        needed = np.maximum(AGREE, np.ceil(FREED_BY * seeing).astype(np.int64)).clip(max=views)
        distance[alive] = ranked[np.arange(len(alive)), views - needed]
        return distance

    def colours(self, points: Floats, band: float) -> Floats:
        """(N, 3) surface points -> (N, 3): mean colour of the views that see them, by cosine squared.

        What no view sees, deep in a fold, has the colour of the nearest point that one does.
        """
        total, weights = np.zeros((len(points), 3), np.float32), np.zeros((len(points), 1), np.float32)
        for view in range(len(self.depth)):
            pixel, z = self._look_up(view, points)
            depth = self.depth[view].take(pixel)
            near = (depth > 0) & (np.abs(depth - z) < band)
            weight = np.where(near, self.cosine[view].take(pixel) ** 2, 0)[:, None]
            total += weight * self.colour[view][pixel]
            weights += weight
        seen = weights[:, 0] > 0
        if seen.any():
            hidden = points[~seen]
            total[seen] /= weights[seen]
            total[~seen] = total[seen][cKDTree(points[seen]).query(hidden)[1]]
        return np.clip(total, 0, 1)
