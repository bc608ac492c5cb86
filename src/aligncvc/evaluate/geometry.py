"""Geometry: distances between the predicted surface and the object's own mesh, every convention in the name.

Factors of two between papers come from sums against half-sums, squares, and units; so names spell them out,
and units are the renderer's (the object fits a sphere of radius 1). Whole surfaces are compared, inner parts
included: furniture has drawers, and no view sees into them. `@<rung>` says how the prediction was aligned
(`alignment.py`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from aligncvc.config.protocols import Geometry
from aligncvc.errors import UserError
from aligncvc.evaluate.models import OPAQUE, GaussianModel
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.meshes import load_mesh
from aligncvc.metrics.occupancy import occupancy
from aligncvc.metrics.surface_alignment import Fit, Points, Similarity, ladder
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import ALPHA_MIN
from aligncvc.streams import numpy_stream, stream_seed

DRAWS_PER_GAUSSIAN = 3
"""Points drawn from each Gaussian beside its centre (MVGBench)."""

CHAMFER = {"half_sum": "chamfer_half_sum", "sum": "chamfer_sum_x100", "squared_sum": "chamfer_squared_sum"}
"""The protocol's name of a convention -> the metric's."""


@dataclass(frozen=True)
class GeometrySettings:
    """points: samples of each surface. grid: cells a side of the grid over [-1, 1]^3. seed: root."""

    points: int = 10_000
    thresholds: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    rungs: tuple[str, ...] = ("none",)
    chamfer: tuple[str, ...] = tuple(CHAMFER)
    grid: int = 64
    seed: int = 0

    @staticmethod
    def of(geometry: Geometry, seed: int) -> GeometrySettings:
        """What a protocol says."""
        return GeometrySettings(
            geometry.points,
            tuple(geometry.thresholds),
            tuple(geometry.alignment),
            tuple(geometry.chamfer),
            geometry.grid,
            seed,
        )


@torch.no_grad()
def geometry_family(subject: Subject, settings: GeometrySettings) -> Iterator[Value]:
    """Distances, F-scores and volume IoU at each rung; depth error and silhouettes at the scored views.

    NaN where the prediction has no surface; nothing without a true surface or a model.
    """
    if subject.model is None:
        return
    yield from depth_values(subject)
    if subject.surface is None:
        return
    surface = subject.model.mesh()
    truth = sample_surface(subject.surface, settings, subject.object, "truth")
    yield Value("watertight_truth", float(subject.surface.is_watertight))
    yield Value("watertight_model", float(surface is not None and surface.is_watertight))
    if surface is None:
        for rung in settings.rungs:
            for name in (*_distance_names(settings), "volume_iou", "alignment_residual"):
                yield Value(f"{name}@{rung}", math.nan)
        return
    found = sample_surface(surface, settings, subject.object, "model")
    fits = ladder(found, truth, settings.rungs)
    tree = cKDTree(truth)
    for rung, fit in fits.items():
        moved = fit.transform(found)
        for name, value in surface_distances(moved, truth, settings, tree).items():
            yield Value(f"{name}@{rung}", value)
        yield Value(f"alignment_residual@{rung}", fit.residual)
        yield Value(f"volume_iou@{rung}", _volume_iou(surface, subject.surface, fit, settings.grid))
    if isinstance(subject.model, GaussianModel):
        cloud = gaussian_points(subject.model.gaussians, settings, subject.object)
        yield Value("chamfer_half_sum_points@none", chamfer_half_sum(cloud, truth, tree))


def surface_distances(
    prediction: Points, truth: Points, settings: GeometrySettings, tree: cKDTree | None = None
) -> dict[str, float]:
    """Chamfer distances in every asked convention, and F-scores, of two samples (N, 3), (M, 3)."""
    to_truth, to_prediction = nearest(prediction, truth, tree)
    a, b = to_truth.mean(), to_prediction.mean()
    chamfer = {
        "half_sum": (a + b) / 2,
        "sum": (a + b) * 100,
        "squared_sum": (to_truth**2).mean() + (to_prediction**2).mean(),
    }
    values = {CHAMFER[name]: float(chamfer[name]) for name in settings.chamfer}
    for threshold in settings.thresholds:
        values[f"f_{threshold:g}"] = f_score(to_truth, to_prediction, threshold)
    return values


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


def sample_surface(mesh: trimesh.Trimesh, settings: GeometrySettings, *names: object) -> Points:
    """(points, 3) uniform samples of a surface, in an order that is random too; seeded by name."""
    seed = stream_seed(settings.seed, "surface", *names) & 0x7FFFFFFF
    points = np.asarray(trimesh.sample.sample_surface(mesh, settings.points, seed=seed)[0], np.float64)
    return points[numpy_stream(settings.seed, "surface order", *names).permutation(len(points))]


def gaussian_points(gaussians: Gaussians, settings: GeometrySettings, name: str) -> Points:
    """Centres of the visible Gaussians and a few draws from each, (n, 3), at most `points` of them.

    MVGBench filters none; those below 1/255, which no rasteriser draws, are left out here.
    """
    visible = gaussians.opacities > ALPHA_MIN
    kept = Gaussians(
        *(getattr(gaussians, key)[visible] for key in ("means", "scales", "quats", "opacities", "colors"))
    )
    rng = numpy_stream(settings.seed, "gaussian points", name)
    means, scales = kept.means.double().numpy(), kept.scales.double().numpy()
    if not len(means):
        return np.zeros((0, 3))
    draws = rng.standard_normal((DRAWS_PER_GAUSSIAN, len(means), 3)) * scales
    turned = np.einsum("nij,dnj->dni", _rotations(kept.quats), draws) + means
    cloud = np.concatenate([means[None], turned]).reshape(-1, 3)
    return cloud[rng.permutation(len(cloud))[: settings.points]]


def _rotations(quats: torch.Tensor) -> NDArray[np.float64]:
    """(N, 4) w, x, y, z -> (N, 3, 3)."""
    return Rotation.from_quat(quats.double().numpy()[:, [1, 2, 3, 0]]).as_matrix()


def depth_values(subject: Subject) -> Iterator[Value]:
    """`depth_mae` where both have a surface, `mask_iou` of the silhouettes: means over the scored views."""
    if subject.model is None or subject.truth.depth is None:
        return
    drawn = subject.model.draw(subject.truth.cameras[subject.scored], 1.0)
    depth, true_depth = drawn.depth[:, 0], subject.truth[subject.scored].depth
    assert true_depth is not None
    mask, true_mask = drawn.alpha[:, 0] > OPAQUE, subject.truth[subject.scored].alpha[:, 0] > OPAQUE
    both = mask & true_mask & (depth > 0) & (true_depth > 0)
    error = ((depth - true_depth).abs() * both).sum((-2, -1)) / both.sum((-2, -1))
    yield Value("depth_mae", float(error.nanmean()))
    union = (mask | true_mask).sum((-2, -1))
    yield Value("mask_iou", float(((mask & true_mask).sum((-2, -1)) / union).nanmean()))


def _volume_iou(surface: trimesh.Trimesh, truth: trimesh.Trimesh, fit: Fit, grid: int) -> float:
    """Of occupancy grids; NaN unless both meshes are watertight, for an open one has no inside."""
    if not (surface.is_watertight and truth.is_watertight):
        return math.nan
    moved = trimesh.Trimesh(fit.transform(np.asarray(surface.vertices)), surface.faces, process=False)
    a, b = occupancy(moved, grid), occupancy(truth, grid)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else math.nan


def _distance_names(settings: GeometrySettings) -> Sequence[str]:
    return [*(CHAMFER[name] for name in settings.chamfer), *(f"f_{t:g}" for t in settings.thresholds)]


def load_truth_surface(manifest: Path, name: str, facts: Mapping[str, Any]) -> trimesh.Trimesh:
    """The object's mesh in the renders' frame.

    manifest: of the objects stage. facts: of the object's cameras.json, whose `normalisation` was applied by
    the renderer (new = scale * old + offset, z up). Raises UserError if the mesh is not to be had.
    """
    try:
        with manifest.open(encoding="utf-8", newline="") as handle:
            rows = {row["id"]: row for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)}
        path = manifest.parent / rows[name]["path"]
        normalisation = facts["normalisation"]
        move = Similarity(
            float(normalisation["scale"]), np.eye(3), np.asarray(normalisation["offset"], float)
        )
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"the true surface of {name} cannot be placed ({error!r} in {manifest} or its cameras.json); "
            "fetch and render the objects again"
        ) from error
    mesh = load_mesh(path, colours=False)
    return trimesh.Trimesh(move(np.asarray(mesh.vertices)), mesh.faces, process=True)
