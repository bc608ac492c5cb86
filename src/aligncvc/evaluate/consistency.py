"""Cross-view consistency (CVC): a family of measures, after each kept sampling step (docs/metrics.md).

Which metric the paper calls CVC is not public, so none here is called that. A reconstructor that fits
inconsistent views hides their fault in *residuals*, so *held-out* and *split-half* scores compare no view
with a model that has seen it: they reconstruct two halves of the views by the *judge*, the protocol's
pretrained reconstructor, the same for every pair and method. Halves are neighbours on the ring ("adjacent"):
front and back ("even-odd") share so little surface that ground truth could not be told from jittered views
(docs/lab-log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from aligncvc.config.protocols import Metrics
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
    similarity, perceptual = partial(ssim, window=settings.ssim.window), partial(lpips, networks.lpips)
    return {"psnr": psnr, "ssim": similarity, "lpips": perceptual, "mae": mae}


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
        metrics: `image_metrics`.
        judge: the reconstructor of the halves; None leaves their scores out.
        halves: which views make a half.
        steps: after which steps halves, the costly part, are scored (`measured_steps`).
    """
    if trial.views is not None and trial.renders is not None:
        for name, metric in metrics.items():
            curve = compared(metric, trial.views, trial.renders)
            yield from along_steps(f"residual_{name}", curve, trial.rig)
        # deltas at the smallest of the three sizes: scores at two sizes would differ for equals
        views, renders, truth = at_common_size(trial.views, trial.renders, trial.rig_truth)
        for name in SHARED:
            of_views, of_renders = (compared(metrics[name], x, truth.expand_as(x)) for x in (views, renders))
            yield from along_steps(f"delta_{name}", of_views - of_renders, trial.rig)
    if judge is not None:
        yield from halves_family(trial, metrics, judge, halves, steps)


def halves_family(
    trial: Trial, metrics: Mapping[str, Metric], judge: nn.Module, halves: Halves, steps: Steps
) -> Iterator[Value]:
    """heldout_*, and split_* if the ring has poses between the views; nothing where the rig has no halves."""
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
        curve = compared(metrics[name], drawn, views[:, order])
        yield from along_steps(f"heldout_{name}", curve, [trial.rig[i] for i in order], measured)
    if not (between := poses_between(len(trial.truth), trial.rig)):
        return
    one, other = (model.draw(trial.truth.cameras[between]) for model in models)
    for name in SHARED:
        curve = compared(metrics[name], one.rgb.clamp(0, 1), other.rgb.clamp(0, 1))
        yield from along_steps(f"split_{name}", curve, between, measured)
    yield from along_steps("split_depth_mae", depth_mae(one, other), between, measured)
    clouds = (model.points() for model in models)
    for step, pair in zip(measured, zip(*clouds, strict=True), strict=True):
        distance = chamfer_half_sum(*(points.double().numpy() for points in pair))
        yield Value("split_chamfer_half_sum", distance, step=step)


def measured_steps(count: int, which: Steps) -> list[int]:
    """Of 1..count: all, four evenly spaced ones that end with the last, or the last only."""
    kept = {"all": count, "four": min(4, count), "last": 1}[which]
    return [round((i + 1) * count / kept) for i in range(kept)]


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
