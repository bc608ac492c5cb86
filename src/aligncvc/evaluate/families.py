"""Families of metrics of one trial: images and views against the truth, epipolar consistency, geometry.

Consistency has its own module. Geometry's units are the renderer's (the object fits a sphere of radius 1).
Whole surfaces are compared, inner parts included: furniture has drawers, and no view sees into them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from aligncvc.config.protocols import Geometry, Metrics, Tsed
from aligncvc.evaluate.consistency import SHARED, along_steps, compared, image_metrics
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.trial import GaussianModel, Trial, Value, per_view
from aligncvc.metrics.epipolar import ring_scores, ring_summary, shown
from aligncvc.metrics.perceptual import clip_s, dists, lpips, lpips_scores
from aligncvc.metrics.psnr import foreground_psnr, pooled_psnr, psnr
from aligncvc.metrics.ssim import ssim_scores
from aligncvc.metrics.surface_alignment import ladder
from aligncvc.metrics.surface_distance import (
    chamfer_half_sum,
    depth_and_silhouette,
    gaussian_points,
    sample_surface,
    surface_distances,
    volume_iou,
)
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.views import at_common_size

DENSE_RIG = 8
"""A rig with so many views has neighbours at most 45 degrees apart."""


def image_family(
    trial: Trial, networks: Networks, settings: Metrics, drawn: Tensor | None
) -> Iterator[Value]:
    """Renderings of the 3D result against ground truth at the scored views: each view, and their mean.

    lpips_vgg only if loaded, dists of each n-th view, psnr_pooled for all views together. A metric without
    value at this size, or without weights, is NaN. drawn: `trial.draw_scored()`; nothing without a model.
    """
    if drawn is None:
        return
    target, alpha = trial.scored_truth, trial.truth[trial.scored].alpha
    whole_lpips, fg_lpips = lpips_scores(networks.lpips, drawn, target, alpha)
    whole_ssim, fg_ssim = ssim_scores(drawn, target, alpha, settings.ssim.window)
    exact = drawn.double(), target.double()
    results = {
        "psnr": psnr(*exact), "ssim": whole_ssim, "lpips": whole_lpips,
        "fg_psnr": foreground_psnr(*exact, alpha), "fg_ssim": fg_ssim, "fg_lpips": fg_lpips,
    }  # fmt: skip
    if networks.clip is not None:
        results["clip_s"] = clip_s(networks.clip, drawn, target)
    if networks.lpips_vgg is not None:
        results["lpips_vgg"] = lpips(networks.lpips_vgg, drawn, target)
    for name, values in results.items():
        yield from per_view(name, values, trial.scored)
    every = slice(None, None, max(1, settings.dists.every))
    yield from per_view("dists", dists(networks.dists, drawn[every], target[every]), trial.scored[every])
    if networks.clip is None:
        yield Value("clip_s", math.nan)
    yield Value("psnr_pooled", float(pooled_psnr(*exact)))


def views_family(trial: Trial, networks: Networks, settings: Metrics) -> Iterator[Value]:
    """Generated views against ground truth at the rig's poses, on white, at the smaller of their sizes.

    Each view (ring index) and their mean for steps 1..K; the last step's means once more as FINAL_STEP.
    Nothing for a trial without generated views.
    """
    if trial.views is None:
        return
    alpha = trial.truth[trial.rig].alpha
    views, truth, alpha = at_common_size(trial.views, trial.rig_truth, alpha)
    truth, metrics = truth.expand_as(views), image_metrics(networks, settings)
    curves = {f"views_{name}": compared(metrics[name], views, truth) for name in SHARED}
    curves["views_fg_psnr"] = foreground_psnr(views.double(), truth.double(), alpha)
    for name, curve in curves.items():
        yield from along_steps(name, curve, trial.rig)
        yield Value(name, float(curve[-1].nanmean()))


def epipolar_family(trial: Trial, settings: Tsed) -> Iterator[Value]:
    """`epipolar.ring_summary` of generated views, after each step, or of the model's renderings.

    SIFT finds no keypoints that two views a quarter turn apart share. So it is of generated views only where
    neighbours are at most 45 degrees apart; else of renderings at the ring, as FINAL_STEP, which agree by
    construction as far as the model is opaque. Nothing without either.
    """

    def values(rgba: Tensor, cameras: Cameras, step: int) -> Iterator[Value]:
        scores = ring_scores(rgba, cameras, settings.image_px)
        for name, value in ring_summary(scores, settings.min_matches, settings.max_px).items():
            yield Value(name, value, step=step)

    if trial.views is not None and len(trial.rig) >= DENSE_RIG:
        cameras = trial.truth.cameras[trial.rig].resized(*reversed(trial.views.shape[-2:]))
        for step, views in enumerate(trial.views, start=1):
            yield from values(torch.cat([views, shown(views)], 1), cameras, step)
    elif trial.model is not None:
        with torch.no_grad():
            drawing = trial.model.draw(trial.truth.cameras, 1.0)
        rgba = torch.cat([drawing.rgb.clamp(0, 1), drawing.alpha.clamp(0, 1)], 1)
        yield from values(rgba, trial.truth.cameras, FINAL_STEP)


@torch.no_grad()
def geometry_family(trial: Trial, settings: Geometry, seed: int) -> Iterator[Value]:
    """Distances, F-scores and volume IoU at each rung; depth error and silhouettes at the scored views.

    NaN where the prediction has no surface; nothing without a true surface or a model.
    """
    if trial.model is None:
        return
    views = trial.truth[trial.scored]
    if views.depth is not None:
        drawn = trial.model.draw(views.cameras, 1.0)
        sides = drawn.depth[:, 0], drawn.alpha[:, 0], views.depth, views.alpha[:, 0]
        found = zip(("depth_mae", "mask_iou"), depth_and_silhouette(*sides), strict=True)
        yield from (Value(name, value) for name, value in found)
    if trial.surface is None:
        return
    surface = trial.model.mesh()
    truth = sample_surface(trial.surface, settings.points, seed, trial.object, "truth")
    yield Value("watertight_truth", float(trial.surface.is_watertight))
    yield Value("watertight_model", float(surface is not None and surface.is_watertight))
    if surface is None:
        point = np.zeros((1, 3))
        distances = surface_distances(point, point, settings.chamfer, settings.thresholds)
        names = *distances, "volume_iou", "alignment_residual"
        yield from (Value(f"{name}@{rung}", math.nan) for rung in settings.alignment for name in names)
        return
    predicted = sample_surface(surface, settings.points, seed, trial.object, "model")
    tree = cKDTree(truth)
    for rung, fit in ladder(predicted, truth, settings.alignment).items():
        moved = fit.transform(predicted)
        distances = surface_distances(moved, truth, settings.chamfer, settings.thresholds, tree)
        distances["alignment_residual"] = fit.residual
        distances["volume_iou"] = volume_iou(surface, trial.surface, fit.transform, settings.grid)
        yield from (Value(f"{name}@{rung}", value) for name, value in distances.items())
    if isinstance(trial.model, GaussianModel):
        cloud = gaussian_points(trial.model.gaussians, settings.points, seed, trial.object)
        yield Value("chamfer_half_sum_points@none", chamfer_half_sum(cloud, truth, tree))
