"""How far a predicted surface is from a true one: distances of points, overlap of volumes, errors of depth.

Factors of two between papers come from sums against half-sums, squares, and units; so names spell them out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from aligncvc.meshes.tsdf import OPAQUE
from aligncvc.metrics.surface_alignment import Points, Similarity
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.triangles import rasterise_triangles
from aligncvc.splat import Rendering
from aligncvc.splat.constants import ALPHA_MIN
from aligncvc.streams import numpy_stream, stream_seed

DRAWS_PER_GAUSSIAN = 3
"""Points drawn from each Gaussian beside its centre (MVGBench)."""

NUDGE = 1e-4 * np.array([0.7548776662, 0.5698402910, 0.3819660113])
"""Share of a cell by which cells are moved: no centre then lies on an edge that two triangles share."""

CHAMFER = {"half_sum": "chamfer_half_sum", "sum": "chamfer_sum_x100", "squared_sum": "chamfer_squared_sum"}
"""A convention -> its metric's name."""


def surface_distances(
    prediction: Points,
    truth: Points,
    chamfer: Sequence[str] = tuple(CHAMFER),
    thresholds: Sequence[float] = (),
    tree: cKDTree | None = None,
) -> dict[str, float]:
    """Distances by CHAMFER and F-scores `f_<threshold>` of points (N, 3) and (M, 3). tree: of truth."""
    to_truth, to_prediction = nearest(prediction, truth, tree)
    a, b = to_truth.mean(), to_prediction.mean()
    conventions = {
        "half_sum": (a + b) / 2,
        "sum": (a + b) * 100,
        "squared_sum": (to_truth**2).mean() + (to_prediction**2).mean(),
    }
    return {CHAMFER[name]: float(conventions[name]) for name in chamfer} | {
        f"f_{threshold:g}": f_score(to_truth, to_prediction, threshold) for threshold in thresholds
    }


def f_score(to_truth: Points, to_prediction: Points, threshold: float) -> float:
    """Harmonic mean of precision and recall: shares of points whose nearest is at most `threshold` away."""
    precision, recall = (float((d <= threshold).mean()) for d in (to_truth, to_prediction))
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def chamfer_half_sum(one: Points, other: Points, tree: cKDTree | None = None) -> float:
    """1/2 (mean + mean) of un-squared nearest distances; NaN if a set is empty. tree: of `other`."""
    if not len(one) or not len(other):
        return math.nan
    a, b = nearest(one, other, tree)
    return float(a.mean() + b.mean()) / 2


def nearest(prediction: Points, truth: Points, tree: cKDTree | None = None) -> tuple[Points, Points]:
    """Distances of each predicted point to the truth and of each true point to the prediction."""
    to_truth = (tree or cKDTree(truth)).query(prediction)[0]
    return to_truth, cKDTree(prediction).query(truth)[0]


def sample_surface(mesh: trimesh.Trimesh, count: int, root_seed: int, *names: object) -> Points:
    """(count, 3) uniform samples of a surface, in an order that is random too; seeded by name."""
    seed = stream_seed(root_seed, "surface", *names) & 0x7FFFFFFF
    points = np.asarray(trimesh.sample.sample_surface(mesh, count, seed=seed)[0], np.float64)
    return points[numpy_stream(root_seed, "surface order", *names).permutation(len(points))]


def gaussian_points(gaussians: Gaussians, most: int, root_seed: int, name: str) -> Points:
    """Centres of the Gaussians that a rasteriser draws and a few draws from each, (n, 3), at most `most`."""
    visible = gaussians.opacities > ALPHA_MIN
    means, scales = (x[visible].double().numpy() for x in (gaussians.means, gaussians.scales))
    if not len(means):
        return np.zeros((0, 3))
    turns = Rotation.from_quat(gaussians.quats[visible].double().numpy()[:, [1, 2, 3, 0]]).as_matrix()
    rng = numpy_stream(root_seed, "gaussian points", name)
    draws = rng.standard_normal((DRAWS_PER_GAUSSIAN, len(means), 3)) * scales
    turned = np.einsum("nij,dnj->dni", turns, draws) + means
    cloud = np.concatenate([means[None], turned]).reshape(-1, 3)
    return cloud[rng.permutation(len(cloud))[:most]]


def volume_iou(surface: trimesh.Trimesh, truth: trimesh.Trimesh, move: Similarity, grid: int) -> float:
    """Of occupancy grids, `grid` cells a side; NaN unless both are watertight. move: aligns `surface`."""
    if not (surface.is_watertight and truth.is_watertight):
        return math.nan
    moved = trimesh.Trimesh(move(np.asarray(surface.vertices)), surface.faces, process=False)
    a, b = occupancy(moved, grid), occupancy(truth, grid)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else math.nan


def occupancy(mesh: trimesh.Trimesh, grid: int, extent: float = 1.0) -> NDArray[np.bool_]:
    """(grid, grid, grid) over [-extent, extent]^3, x first: is the cell's centre inside the closed mesh?

    Signed crossings are summed along each column, so closed parts that overlap count once.
    """
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


def depth_and_silhouette(
    depth: Tensor, alpha: Tensor, true_depth: Tensor, true_alpha: Tensor
) -> tuple[float, float]:
    """Of (V, H, W): mean |difference| of depths where both have a surface, IoU of the silhouettes."""
    mask, true_mask = alpha > OPAQUE, true_alpha > OPAQUE
    both = mask & true_mask & (depth > 0) & (true_depth > 0)
    error = ((depth - true_depth).abs() * both).sum((-2, -1)) / both.sum((-2, -1))
    iou = (mask & true_mask).sum((-2, -1)) / (mask | true_mask).sum((-2, -1))
    return float(error.nanmean()), float(iou.nanmean())


def depth_mae(one: Rendering, other: Rendering) -> Tensor:
    """(K, P) mean |difference| of depths (0: nothing) where either has a surface (MVGBench), or NaN."""
    depths = [torch.where(r.alpha > OPAQUE, r.depth / r.alpha.clamp_min(1e-6), 0.0) for r in (one, other)]
    either = ((depths[0] > 0) | (depths[1] > 0)).to(depths[0].dtype)
    return (depths[0] - depths[1]).abs().sum((-3, -2, -1)) / either.sum((-3, -2, -1))
