"""Geometry of a trial: its surface against the object's own mesh, every convention in the name.

Units are the renderer's (the object fits a sphere of radius 1). Whole surfaces are compared, inner parts
included: furniture has drawers, and no view sees into them. `@<rung>` says how the prediction was aligned
(`aligncvc.metrics.surface_alignment`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree

from aligncvc.config.protocols import Geometry
from aligncvc.evaluate.shapes import GaussianModel
from aligncvc.evaluate.trial import Trial, Value
from aligncvc.metrics.surface_alignment import ladder
from aligncvc.metrics.surface_distance import (
    chamfer_half_sum,
    depth_and_silhouette,
    gaussian_points,
    sample_surface,
    surface_distances,
    volume_iou,
)


@torch.no_grad()
def geometry_family(trial: Trial, settings: Geometry, seed: int) -> Iterator[Value]:
    """Distances, F-scores and volume IoU at each rung; depth error and silhouettes at the scored views.

    NaN where the prediction has no surface; nothing without a true surface or a model. seed: root of the
    streams that sample the surfaces.
    """
    if trial.model is None:
        return
    yield from depth_values(trial)
    if trial.surface is None:
        return
    surface = trial.model.mesh()
    truth = sample_surface(trial.surface, settings.points, seed, trial.object, "truth")
    yield Value("watertight_truth", float(trial.surface.is_watertight))
    yield Value("watertight_model", float(surface is not None and surface.is_watertight))
    if surface is None:
        nothing = np.zeros((1, 3))
        names = surface_distances(nothing, nothing, settings.chamfer, settings.thresholds)
        for rung in settings.alignment:
            for name in (*names, "volume_iou", "alignment_residual"):
                yield Value(f"{name}@{rung}", math.nan)
        return
    predicted = sample_surface(surface, settings.points, seed, trial.object, "model")
    tree = cKDTree(truth)
    for rung, fit in ladder(predicted, truth, settings.alignment).items():
        moved = fit.transform(predicted)
        distances = surface_distances(moved, truth, settings.chamfer, settings.thresholds, tree)
        for name, value in distances.items():
            yield Value(f"{name}@{rung}", value)
        yield Value(f"alignment_residual@{rung}", fit.residual)
        yield Value(f"volume_iou@{rung}", volume_iou(surface, trial.surface, fit.transform, settings.grid))
    if isinstance(trial.model, GaussianModel):
        cloud = gaussian_points(trial.model.gaussians, settings.points, seed, trial.object)
        yield Value("chamfer_half_sum_points@none", chamfer_half_sum(cloud, truth, tree))


def depth_values(trial: Trial) -> Iterator[Value]:
    """`depth_mae` where both have a surface, `mask_iou` of the silhouettes: means over the scored views."""
    truth = trial.truth[trial.scored]
    if trial.model is None or truth.depth is None:
        return
    drawn = trial.model.draw(truth.cameras, 1.0)
    depth_mae, iou = depth_and_silhouette(
        drawn.depth[:, 0], drawn.alpha[:, 0], truth.depth, truth.alpha[:, 0]
    )
    yield Value("depth_mae", depth_mae)
    yield Value("mask_iou", iou)
