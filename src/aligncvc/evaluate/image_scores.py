"""The image families of a trial: renderings and generated views against ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from aligncvc.config.protocols import Metrics
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.trial import Trial, Value, per_view
from aligncvc.metrics.perceptual import clip_s, dists, lpips, lpips_scores
from aligncvc.metrics.psnr import foreground_psnr, pooled_psnr, psnr
from aligncvc.metrics.ssim import ssim, ssim_scores
from aligncvc.scene.views import at_common_size


def image_family(
    trial: Trial, networks: Networks, settings: Metrics, drawn: Tensor | None
) -> Iterator[Value]:
    """Renderings of the 3D result against ground truth at the scored views: each view, and their mean.

    psnr, ssim, lpips, lpips_vgg (only if loaded), dists (of each n-th view), fg_psnr, fg_ssim, fg_lpips,
    clip_s, and psnr_pooled for all views together. Views without a value (NaN) stay out of the mean; a metric
    that has none at this size, or no weights, is NaN.

    Args:
        trial: what is scored.
        networks: those that are there.
        settings: the protocol's conventions.
        drawn: `trial.draw_scored()`; without a model (None) there is nothing to score.
    """
    if drawn is None:
        return
    target, alpha = trial.scored_truth, trial.truth[trial.scored].alpha
    whole_lpips, fg_lpips = lpips_scores(networks.lpips, drawn, target, alpha)
    whole_ssim, fg_ssim = ssim_scores(drawn, target, alpha, settings.ssim.window)
    exact = drawn.double(), target.double()
    results = {
        "psnr": psnr(*exact),
        "ssim": whole_ssim,
        "lpips": whole_lpips,
        "fg_psnr": foreground_psnr(*exact, alpha),
        "fg_ssim": fg_ssim,
        "fg_lpips": fg_lpips,
    }
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
    """Generated views against ground truth at the rig's poses, on white, after each kept sampling step.

    Where the sizes differ, at the smaller one (`views.at_common_size`).

    views_psnr, views_ssim, views_lpips, views_fg_psnr: each view (ring index) and their mean for steps
    1..K; the last step's means once more as FINAL_STEP. Nothing for a trial without generated views.
    """
    if trial.views is None:
        return
    steps, poses = trial.views.shape[:2]
    generated, target, alpha = at_common_size(
        trial.views.flatten(0, 1), trial.rig_truth, trial.truth[trial.rig].alpha
    )
    target, alpha = target.repeat(steps, 1, 1, 1), alpha.repeat(steps, 1, 1, 1)
    exact = generated.double(), target.double()
    results = {
        "views_psnr": psnr(*exact),
        "views_ssim": ssim(generated, target, settings.ssim.window),
        "views_lpips": lpips(networks.lpips, generated, target),
        "views_fg_psnr": foreground_psnr(*exact, alpha),
    }
    for name, values in results.items():
        curve = values.view(steps, poses)
        for step, row in enumerate(curve, start=1):
            yield from per_view(name, row, trial.rig, step)
        yield Value(name, float(curve[-1].nanmean()))
