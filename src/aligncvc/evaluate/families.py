"""Families of metrics of one trial: images, views, cross-view and epipolar consistency, geometry.

Cross-view consistency (docs/metrics.md): a reconstructor that fits inconsistent views hides their fault in
*residuals*, so *held-out* and *split-half* scores compare no view with a model that has seen it: the *judge*,
the protocol's pretrained reconstructor, reconstructs two halves of the views. They are neighbours on the ring
("adjacent"): front and back ("even-odd") share too little surface to tell ground truth from jittered views
(docs/lab-log.md). Geometry's units are the renderer's (the object fits a sphere of radius 1). Whole surfaces
are compared, inner parts included: furniture has drawers, and no view sees into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.protocol_metrics import Geometry, Metrics
from aligncvc.evaluate.coherence import coherence_family
from aligncvc.evaluate.epipolar import EPIPOLAR, epipolar_family
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.trial import Drawn, GaussianModel, Steps, Trial, Value, measured_steps, per_view
from aligncvc.metrics import surface_distance as surfaces
from aligncvc.metrics.coherence import COLOUR_VIEWS
from aligncvc.metrics.halves import LEAST_VIEWS, HalfModel, Halves, poses_between, split
from aligncvc.metrics.perceptual import LEAST_PX, clip_s, dists, lpips, lpips_scores
from aligncvc.metrics.psnr import foreground_psnr, mae, pooled_psnr, psnr, union_psnr
from aligncvc.metrics.ssim import ssim, ssim_scores
from aligncvc.metrics.surface_alignment import ladder
from aligncvc.scene.views import Views, at_common_size, silhouettes

Metric = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) twice in [0, 1] -> (B,)."""
SHARED = ("psnr", "ssim", "lpips")
"""Metrics of every comparison; residuals have `mae` too."""
PARTED = ("psnr", "lpips")
"""Metrics whose residuals and gaps are also given of the input view and of all others apart."""
HELD_OUT = tuple(f"heldout_{name}" for name in SHARED)
SPLIT_HALF = (*(f"split_{name}" for name in SHARED), "split_depth_mae", "split_chamfer_half_sum")


def image_metrics(networks: Networks, settings: Metrics) -> dict[str, Metric]:
    """What two images are compared by, by name: SHARED and mae."""
    similarity, perceptual = partial(ssim, window=settings.ssim.window), partial(lpips, networks.lpips)
    return {"psnr": psnr, "ssim": similarity, "lpips": perceptual, "mae": mae}


def along_steps(
    name: str, curve: Tensor, views: list[int], steps: list[int] | None = None
) -> Iterator[Value]:
    """(K, P) scores as values, step by step. steps: 1..K if left out."""
    for step, values in zip(steps or range(1, len(curve) + 1), curve, strict=True):
        yield from per_view(name, values, views, step)


def compared(metric: Metric, images: Tensor, target: Tensor) -> Tensor:
    """(K, P, 3, H, W) twice, compared in float64 at the smaller of their sizes -> (K, P)."""
    images, target = at_common_size(images, target)
    return metric(images.flatten(0, 1).double(), target.flatten(0, 1).double()).view(images.shape[:2])


def image_family(trial: Trial, networks: Networks, settings: Metrics, drawn: Drawn | None) -> Iterator[Value]:
    """Renderings of the 3D result against ground truth at the scored views: each view, and their mean.

    lpips_vgg only if loaded, dists of each n-th view, psnr_pooled for all views together. A metric without
    value at this size, or without weights, is NaN. drawn: `trial.draw_scored()`; nothing without a model.
    """
    if drawn is None:
        return
    images, target, alpha = drawn.rgb, trial.scored_truth, trial.truth[trial.scored].alpha
    whole_lpips, fg_lpips = lpips_scores(networks.lpips, images, target, alpha)
    whole_ssim, fg_ssim = ssim_scores(images, target, alpha, settings.ssim.window)
    exact = images.double(), target.double()
    results = {
        "psnr": psnr(*exact), "ssim": whole_ssim, "lpips": whole_lpips,
        "fg_psnr": foreground_psnr(*exact, alpha), "fg_ssim": fg_ssim, "fg_lpips": fg_lpips,
        "union_psnr": union_psnr(*exact, alpha, drawn.alpha),
    }  # fmt: skip
    if networks.clip is not None:
        results["clip_s"] = clip_s(networks.clip, images, target)
    if networks.lpips_vgg is not None:
        results["lpips_vgg"] = lpips(networks.lpips_vgg, images, target)
    for name, values in results.items():
        yield from per_view(name, values, trial.scored)
    every = slice(None, None, max(1, settings.dists.every))
    yield from per_view("dists", dists(networks.dists, images[every], target[every]), trial.scored[every])
    if networks.clip is None:
        yield Value("clip_s", math.nan)
    yield Value("psnr_pooled", float(pooled_psnr(*exact)))


def views_family(trial: Trial, networks: Networks, settings: Metrics) -> Iterator[Value]:
    """Generated views against ground truth at the rig, on white; the last step's means as FINAL_STEP too.

    Nothing where there is no truth at the rig (published pictures).
    views_lpips_vgg only if loaded, of the last step alone.
    """
    if trial.views is None or trial.rig_views is None:
        return
    views, truth, alpha = at_common_size(trial.views, trial.rig_views.on_white(), trial.rig_views.alpha)
    truth, metrics = truth.expand_as(views), image_metrics(networks, settings)
    curves = {f"views_{name}": compared(metrics[name], views, truth) for name in SHARED}
    curves["views_fg_psnr"] = foreground_psnr(views.double(), truth.double(), alpha)
    curves["views_union_psnr"] = union_of_shown(views, truth, alpha)
    for name, curve in curves.items():
        yield from along_steps(name, curve, trial.rig)
        yield Value(name, float(curve[-1].nanmean()))
    if networks.lpips_vgg is not None:
        last = lpips(networks.lpips_vgg, views[-1], truth[-1])
        yield from per_view("views_lpips_vgg", last, trial.rig)


def union_of_shown(images: Tensor, truth: Tensor, alpha: Tensor) -> Tensor:
    """`union_psnr` of (K, V, 3, H, W) on white, whose own silhouettes are what is not white -> (K, V)."""
    return union_psnr(images.double(), truth.double(), alpha, silhouettes(images)[..., None, :, :].double())


def parted(family: str, metric: str, curve: Tensor) -> Iterator[Value]:
    """`<family>_input_<metric>` and `..._unseen_...`: of a curve (K, V), whose first view is the input's."""
    for step, values in enumerate(curve, start=1):
        yield Value(f"{family}_input_{metric}", float(values[0]), step=step)
        yield Value(f"{family}_unseen_{metric}", float(values[1:].nanmean()), step=step)


def consistency_family(
    trial: Trial,
    metrics: Mapping[str, Metric],
    judge: nn.Module | None,
    halves: Halves = "adjacent",
    steps: Steps = "all",
) -> Iterator[Value]:
    """residual_*, delta_*, heldout_*, split_*: each view's where a view has one, and means, for steps 1..K.

    Of PARTED the residuals, and as gap_* the absolute deltas, also of the input view and of the others apart.

    Without views nothing, without renderings no residuals and deltas, without truth at the rig no deltas and
    gaps, without a judge no scores of halves.
    steps: after which steps these, the costly part, are scored (`measured_steps`).
    """
    if trial.views is not None and trial.renders is not None:
        for name, metric in metrics.items():
            curve = compared(metric, trial.views, trial.renders)
            yield from along_steps(f"residual_{name}", curve, trial.rig)
            if name in PARTED:
                yield from parted("residual", name, curve)
        if trial.rig_views is not None:
            yield from against_truth(trial, trial.views, trial.renders, trial.rig_views, metrics)
    if judge is not None:
        yield from halves_family(trial, metrics, judge, halves, steps)


def against_truth(
    trial: Trial, views: Tensor, renders: Tensor, rig_views: Views, metrics: Mapping[str, Metric]
) -> Iterator[Value]:
    """delta_*, gap_* and renders_union_psnr of views and renderings (K, V, 3, H, W) at the rig."""
    # at the smallest of the three sizes: scores at two sizes would differ for equals
    views, renders, truth = at_common_size(views, renders, rig_views.on_white())
    for name in SHARED:
        of_views, of_renders = (compared(metrics[name], x, truth.expand_as(x)) for x in (views, renders))
        yield from along_steps(f"delta_{name}", of_views - of_renders, trial.rig)
        if name in PARTED:
            yield from parted("gap", name, (of_views - of_renders).abs())
    alpha = at_common_size(views, rig_views.alpha)[1]
    curve = union_of_shown(renders, truth.expand_as(renders), alpha)
    yield from along_steps("renders_union_psnr", curve, trial.rig)


def halves_family(
    trial: Trial, metrics: Mapping[str, Metric], judge: nn.Module, halves: Halves, steps: Steps
) -> Iterator[Value]:
    """heldout_*, and split_* if the ring has poses between the views; nothing where the rig has no halves."""
    parts = split(len(trial.rig), halves)
    if trial.views is None or not parts:
        return
    measured = measured_steps(len(trial.views), steps)
    views = trial.views[[step - 1 for step in measured]]
    cameras = trial.rig_cameras
    models = [HalfModel.of(judge, views, cameras, part) for part in parts]
    order = [view for part in reversed(parts) for view in part]
    crossed = [m.draw(cameras[other]).rgb for m, other in zip(models, reversed(parts), strict=True)]
    drawn = torch.cat(crossed, 1).clamp(0, 1)
    for name in SHARED:
        curve = compared(metrics[name], drawn, views[:, order])
        yield from along_steps(f"heldout_{name}", curve, [trial.rig[i] for i in order], measured)
    if not (between := between_poses(trial)):
        return
    one, other = (model.draw(trial.truth.cameras[between]) for model in models)
    for name in SHARED:
        curve = compared(metrics[name], one.rgb.clamp(0, 1), other.rgb.clamp(0, 1))
        yield from along_steps(f"split_{name}", curve, between, measured)
    yield from along_steps("split_depth_mae", surfaces.depth_mae(one, other), between, measured)
    clouds = (model.points() for model in models)
    for step, pair in zip(measured, zip(*clouds, strict=True), strict=True):
        distance = surfaces.chamfer_half_sum(*(points.double().numpy() for points in pair))
        yield Value("split_chamfer_half_sum", distance, step=step)


def between_poses(trial: Trial) -> list[int]:
    """Ring indices midway between the rig's views; none where the ring has none, or there is no ring."""
    return poses_between(len(trial.truth), trial.rig) if trial.poses is None else []


@torch.no_grad()
def geometry_family(trial: Trial, settings: Geometry, seed: int) -> Iterator[Value]:
    """Distances, F-scores and volume IoU at each rung, NaN without a surface; silhouettes, and depth error
    where the truth has depth."""
    if trial.model is None:
        return
    views, drawn = trial.truth[trial.scored], trial.model.draw(trial.truth.cameras[trial.scored], 1.0)
    depth = torch.zeros_like(drawn.depth[:, 0]) if views.depth is None else views.depth
    sides = drawn.depth[:, 0], drawn.alpha[:, 0], depth, views.alpha[:, 0]
    error, overlap = surfaces.depth_and_silhouette(*sides)
    yield from [] if views.depth is None else [Value("depth_mae", error)]
    yield Value("mask_iou", overlap)
    if trial.surface is None:
        return
    surface = trial.model.mesh()
    truth = surfaces.sample_surface(trial.surface, settings.points, seed, trial.object, "truth")
    yield Value("watertight_truth", float(trial.surface.is_watertight))
    yield Value("watertight_model", float(surface is not None and surface.is_watertight))
    if surface is None:
        point = np.zeros((1, 3))
        distances = surfaces.surface_distances(point, point, settings.chamfer, settings.thresholds)
        names = *distances, "volume_iou", "alignment_residual"
        yield from (Value(f"{name}@{rung}", math.nan) for rung in settings.alignment for name in names)
        return
    predicted = surfaces.sample_surface(surface, settings.points, seed, trial.object, "model")
    tree = cKDTree(truth)
    for rung, fit in ladder(predicted, truth, settings.alignment).items():
        moved = fit.transform(predicted)
        distances = surfaces.surface_distances(moved, truth, settings.chamfer, settings.thresholds, tree)
        distances["alignment_residual"] = fit.residual
        distances["volume_iou"] = surfaces.volume_iou(surface, trial.surface, fit.transform, settings.grid)
        yield from (Value(f"{name}@{rung}", value) for name, value in distances.items())
    if isinstance(trial.model, GaussianModel):
        cloud = surfaces.gaussian_points(trial.model.gaussians, settings.points, seed, trial.object)
        yield Value("chamfer_half_sum_points@none", surfaces.chamfer_half_sum(cloud, truth, tree))


@torch.no_grad()
def score_trial(trial: Trial, job: EvaluateJob, networks: Networks, drawn: Drawn | None) -> Iterator[Value]:
    """Every value of one trial; families leave out what it has not. drawn: `trial.draw_scored()`."""
    settings = job.protocol.metrics
    compare, halves = image_metrics(networks, settings), settings.consistency.halves
    steps: Steps = "four" if job.curves else "last"
    yield from (Value(name, value) for name, value in trial.cost.items())
    yield from image_family(trial, networks, settings, drawn)
    yield from views_family(trial, networks, settings)
    yield from consistency_family(trial, compare, networks.judge, halves, steps)
    yield from coherence_family(trial, steps)
    yield from epipolar_family(trial, settings.consistency.tsed, networks.matcher)
    yield from geometry_family(trial, settings.geometry, job.seed)


def without_ring() -> dict[str, str]:
    """By metric, why it has no value where the truth is published pictures at cameras of their own."""
    paired = [f"views_{name}" for name in (*SHARED, "fg_psnr", "union_psnr", "lpips_vgg")]
    paired += [f"delta_{name}" for name in SHARED]
    paired += [f"gap_{part}_{name}" for part in ("input", "unseen") for name in PARTED]
    kinds = [f"{kind}_{encoder}" for kind in ("frechet", "kernel") for encoder in ("lite0", "lite2")]
    paired += [f"{kind}_{what}" for kind in kinds for what in ("views", "views_renders", "floor")]
    no_truth = dict.fromkeys(
        [*paired, "renders_union_psnr"], "n/a (there is no picture at the generator's poses)"
    )
    no_ring = dict.fromkeys(EPIPOLAR, "n/a (the pictures' cameras are no ring)")
    return no_truth | no_ring | {"depth_mae": "n/a (pictures have no depth)"}


def without_value(trial: Trial) -> dict[str, str]:
    """By metric, why it has no value for images and rigs like this trial's ("n/a (...)")."""
    drawn_px, views, count = min(trial.truth.rgba.shape[-2:]), trial.views, len(trial.rig)
    small = f"n/a (images below {LEAST_PX} px)"
    reasons = {} if trial.poses is None else without_ring()
    if drawn_px < LEAST_PX:
        reasons |= dict.fromkeys(("lpips", "fg_lpips", "split_lpips", "dists"), small)
    if views is None:
        return reasons
    if min(drawn_px, *views.shape[-2:]) < LEAST_PX:
        names = ["views_lpips", "residual_lpips", "delta_lpips", "heldout_lpips"]
        names += [f"{family}_{part}_lpips" for family in ("residual", "gap") for part in ("input", "unseen")]
        reasons |= dict.fromkeys(names, small)
    if count < COLOUR_VIEWS:
        seldom = f"n/a (a rig of {count} views sees few points twice; {COLOUR_VIEWS} or more do)"
        reasons |= dict.fromkeys(("hull_psnr", "hull_covered"), seldom)
    if count < LEAST_VIEWS:
        few = f"n/a (a rig of {count} views has no two halves; {LEAST_VIEWS} or more have)"
        reasons |= dict.fromkeys((*HELD_OUT, *SPLIT_HALF), few)
    elif not between_poses(trial):
        reasons |= dict.fromkeys(SPLIT_HALF, "n/a (the ring has no pose between the rig's views)")
    return reasons
