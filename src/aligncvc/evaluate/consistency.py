"""Cross-view consistency (CVC): a family of measures, after each kept sampling step.

Which metric the paper calls CVC is not public, so none here is called that. They answer different questions:

* *residual*: do generated views and renderings of their reconstruction agree at the same poses? A
  reconstructor that fits inconsistent views hides their fault, so the next two never compare a view with a
  model that has seen it.
* *delta* (Ouroboros3D, arXiv 2406.03184): score of generated views against ground truth minus that of the
  renderings at the same poses; 0 where neither is better.
* *held-out*: one half of the views is reconstructed and drawn at the poses of the other half, where the
  generated views are the measure; both ways.
* *split-half* (MVGBench's idea, arXiv 2507.00006): the two halves' reconstructions, drawn at ring poses that
  belong to no view, are compared with each other.

Halves are reconstructed by the *judge*: the protocol's pretrained reconstructor, never an aligned one, the
same for every pair and method. They are neighbours on the ring ("adjacent"): front and back ("even-odd")
share so little surface that ground truth could not be told from jittered views (docs/lab-log.md). Blur raises
those in PSNR and lowers those in LPIPS (docs/metrics.md): read both, beside the scores against ground truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from aligncvc.config.protocols import Metrics
from aligncvc.errors import UserError
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.trial import Trial, Value, per_view
from aligncvc.metrics.halves import HalfModel, Halves, poses_between, split
from aligncvc.metrics.perceptual import lpips
from aligncvc.metrics.psnr import mae, psnr
from aligncvc.metrics.ssim import ssim
from aligncvc.metrics.surface_distance import chamfer_half_sum, depth_mae
from aligncvc.scene.views import at_common_size

Metric = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) twice in [0, 1] -> (B,)."""
Steps = Literal["all", "four", "last"]
SHARED = ("psnr", "ssim", "lpips")
"""Metrics of every comparison; residuals have `mae` too."""
HELD_OUT = tuple(f"heldout_{name}" for name in SHARED)
SPLIT_HALF = (*(f"split_{name}" for name in SHARED), "split_depth_mae", "split_chamfer_half_sum")


def image_metrics(networks: Networks, settings: Metrics) -> dict[str, Metric]:
    """What two images are compared by, by name: SHARED and mae."""
    return {
        "psnr": psnr,
        "ssim": partial(ssim, window=settings.ssim.window),
        "lpips": partial(lpips, networks.lpips),
        "mae": mae,
    }


def consistency_family(
    trial: Trial,
    metrics: Mapping[str, Metric],
    judge: nn.Module | None,
    halves: Halves = "adjacent",
    steps: Steps = "all",
) -> Iterator[Value]:
    """residual_*, delta_*, heldout_*, split_*: each view's where a view has one, and means, for steps 1..K.

    Nothing for a trial without generated views; without renderings only held-out and split-half scores.

    Args:
        trial: what is scored.
        metrics: `image_metrics`.
        judge: the reconstructor of the halves; None leaves their scores out.
        halves: which views make a half.
        steps: after which halves, the costly part, are scored: all, four evenly spaced ones that end with the
            last, or the last only.
    """
    if trial.views is None:
        return
    if trial.renders is not None:
        for name, curve in matched_pose_residual(trial.views, trial.renders, metrics).items():
            yield from _curve(name, curve, trial.rig)
        yield from _delta(trial, trial.views, trial.renders, metrics)
    if judge is not None:
        yield from halves_family(trial, metrics, judge, halves, steps)


def matched_pose_residual(views: Tensor, renders: Tensor, metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    """Score generated views against renderings at the same poses.

    views, renders: (K, V, 3, H, W) in [0, 1], one set for each kept sampling step, compared at the smaller of
    their sizes (`views.at_common_size`). metrics: by name. Returns `residual_<name>` -> (K, V). Raises
    UserError if they are not as many.
    """
    if views.shape[:-2] != renders.shape[:-2] or views.ndim != 5:
        raise UserError(
            f"generated views {tuple(views.shape)} and renderings {tuple(renders.shape)} do not match; "
            "sample the object again"
        )
    return {f"residual_{name}": _scores(metric, views, renders) for name, metric in metrics.items()}


def _delta(trial: Trial, views: Tensor, renders: Tensor, metrics: Mapping[str, Metric]) -> Iterator[Value]:
    """`delta_<metric>`: generated views' score against ground truth minus the renderings', at the rig.

    All three at the smallest of their sizes: a difference of scores at two sizes would not be 0 for equals.
    """
    views, renders, truth = at_common_size(views, renders, trial.rig_truth)
    truth = truth.expand_as(views)
    for name in SHARED:
        curve = _scores(metrics[name], views, truth) - _scores(metrics[name], renders, truth)
        yield from _curve(f"delta_{name}", curve, trial.rig)


def halves_family(
    trial: Trial, metrics: Mapping[str, Metric], judge: nn.Module, halves: Halves, steps: Steps
) -> Iterator[Value]:
    """Held-out and split-half scores of the two halves' reconstructions; nothing where the rig has no halves.

    Split-half ones need poses of the ring that belong to no view. Arguments as of `consistency_family`.
    """
    parts = split(len(trial.rig), halves)
    if trial.views is None or not parts:
        return
    measured = measured_steps(len(trial.views), steps)
    views = trial.views[[step - 1 for step in measured]]
    cameras = trial.truth.cameras[trial.rig]
    models = [HalfModel.of(judge, views, cameras, part) for part in parts]
    order = [view for part in reversed(parts) for view in part]
    crossed = [m.draw(cameras[other]).rgb for m, other in zip(models, reversed(parts), strict=True)]
    drawn = torch.cat(crossed, 1).clamp(0, 1)
    for name in SHARED:
        curve = _scores(metrics[name], drawn, views[:, order])
        yield from _curve(f"heldout_{name}", curve, [trial.rig[i] for i in order], measured)
    if not (between := poses_between(len(trial.truth), trial.rig)):
        return
    one, other = (model.draw(trial.truth.cameras[between]) for model in models)
    for name in SHARED:
        curve = _scores(metrics[name], one.rgb.clamp(0, 1), other.rgb.clamp(0, 1))
        yield from _curve(f"split_{name}", curve, between, measured)
    yield from _curve("split_depth_mae", depth_mae(one, other), between, measured)
    clouds = (model.points() for model in models)
    for step, pair in zip(measured, zip(*clouds, strict=True), strict=True):
        distance = chamfer_half_sum(*(points.double().numpy() for points in pair))
        yield Value("split_chamfer_half_sum", distance, step=step)


def measured_steps(count: int, which: Steps) -> list[int]:
    """Steps of 1..count after which halves are scored; the last always is."""
    kept = {"all": count, "four": min(4, count), "last": 1}[which]
    return [round((i + 1) * count / kept) for i in range(kept)]


def _curve(name: str, curve: Tensor, views: list[int], steps: list[int] | None = None) -> Iterator[Value]:
    """(K, P) scores as values: step by step, each view and their mean. steps: 1..K if left out."""
    for step, values in zip(steps or range(1, len(curve) + 1), curve, strict=True):
        yield from per_view(name, values, views, step)


def _scores(metric: Metric, images: Tensor, target: Tensor) -> Tensor:
    """(K, P, 3, H, W) twice, compared in float64 at the smaller of their sizes -> (K, P)."""
    images, target = at_common_size(images, target)
    return metric(images.flatten(0, 1).double(), target.flatten(0, 1).double()).view(images.shape[:2])
