"""The image metrics of one subject: renderings and generated views against ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.metrics.image import (
    DISTS_MIN_PX,
    LPIPS_MIN_PX,
    dists_metric,
    foreground_psnr,
    lpips_scores,
    pooled_psnr,
    psnr,
    ssim,
    ssim_scores,
)
from aligncvc.models.encoders.clip import ClipImageEncoder, load_clip
from aligncvc.models.encoders.dists import Dists, load_dists
from aligncvc.models.encoders.lpips import Net, load_lpips
from aligncvc.models.encoders.optional import missing
from aligncvc.scene.views import at_common_size


@dataclass(frozen=True)
class ImageTools:
    """The networks that judge images. None: not loaded.

    dists_every: DISTS, which costs most, scores each n-th scored view (1: all); it belongs to the protocol.
    reasons: by metric, why it has no value anywhere ("n/a (weights missing): ...").
    """

    lpips: nn.Module | None = None
    lpips_vgg: nn.Module | None = None
    dists: Dists | None = None
    clip: ClipImageEncoder | None = None
    dists_every: int = 1
    reasons: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        lpips: Net = "alex",
        *,
        vgg: bool = False,
        dists: bool = True,
        dists_every: int = 1,
        ledger: Path | str | None = None,
        accept_licences: Sequence[str] = (),
    ) -> ImageTools:
        """Load what the ledger has. lpips: the net of `lpips`. vgg: whether to measure `lpips_vgg` too.

        LPIPS and DISTS must be there (UserError); CLIP is loaded if it is, else `reasons` says why not.
        """
        reason = missing("clip-vit-b32", ledger=ledger, accept_licences=accept_licences)
        return cls(
            load_lpips(lpips, ledger=ledger),
            load_lpips("vgg", ledger=ledger) if vgg else None,
            load_dists(ledger=ledger) if dists else None,
            None if reason else load_clip(ledger=ledger, accept_licences=accept_licences),
            dists_every,
            {"clip_s": reason} if reason else {},
        )


def draw_scored(subject: Subject) -> Tensor:
    """The model at the scored views over the protocol's background, (S, 3, H, W) in [0, 1]."""
    if subject.model is None:
        raise ValueError("a subject without a model has nothing to draw")
    cameras = subject.truth.cameras[subject.scored]
    with torch.no_grad():
        return subject.model.draw(cameras, subject.background).rgb.clamp(0, 1)


def image_family(subject: Subject, tools: ImageTools, images: Tensor | None = None) -> Iterable[Value]:
    """Renderings of the 3D result against ground truth at the scored views: each view, and their mean.

    psnr, ssim, lpips, lpips_vgg (only if loaded), dists, fg_psnr, fg_ssim, fg_lpips, clip_s, and psnr_pooled
    for all views together. images: `draw_scored(subject)` if the caller has it already. Views without a
    value (NaN) stay out of the mean; a metric that has none at this size, or no weights, is NaN. A subject
    without a model has none of these.
    """
    if subject.model is None and images is None:
        return
    drawn = draw_scored(subject) if images is None else images
    target, alpha = subject.scored_truth, subject.truth[subject.scored].alpha
    lpips, fg_lpips = _lpips(tools.lpips, drawn, target, alpha)
    whole_ssim, fg_ssim = ssim_scores(drawn, target, alpha)
    results = {
        "psnr": psnr(drawn, target),
        "ssim": whole_ssim,
        "lpips": lpips,
        "fg_psnr": foreground_psnr(drawn, target, alpha),
        "fg_ssim": fg_ssim,
        "fg_lpips": fg_lpips,
    }
    if tools.clip is not None:
        results["clip_s"] = clip_s(tools.clip, drawn, target)
    if tools.lpips_vgg is not None:
        results["lpips_vgg"] = _lpips(tools.lpips_vgg, drawn, target)[0]
    for name, values in results.items():
        yield from per_view(name, values, subject.scored)
    every = slice(None, None, tools.dists_every)
    yield from per_view("dists", _dists(tools.dists, drawn[every], target[every]), subject.scored[every])
    if tools.clip is None:
        yield Value("clip_s", math.nan)
    yield Value("psnr_pooled", float(pooled_psnr(drawn, target)))


def views_family(subject: Subject, tools: ImageTools) -> Iterable[Value]:
    """Generated views against ground truth at the rig's poses, on white, after each kept sampling step.

    Where the sizes differ, at the smaller one (`views.at_common_size`).

    views_psnr, views_ssim, views_lpips, views_fg_psnr: each view (ring index) and their mean for steps
    1..K; the last step's means once more as FINAL_STEP. Nothing for a subject without generated views.
    """
    if subject.views is None:
        return
    steps, poses = subject.views.shape[:2]
    generated, target, alpha = at_common_size(
        subject.views.flatten(0, 1), subject.rig_truth, subject.truth[subject.rig].alpha
    )
    target, alpha = target.repeat(steps, 1, 1, 1), alpha.repeat(steps, 1, 1, 1)
    results = {
        "views_psnr": psnr(generated, target),
        "views_ssim": ssim(generated, target),
        "views_lpips": _lpips(tools.lpips, generated, target)[0],
        "views_fg_psnr": foreground_psnr(generated, target, alpha),
    }
    for name, values in results.items():
        curve = values.view(steps, poses)
        for step, row in enumerate(curve, start=1):
            yield from per_view(name, row, subject.rig, step)
        yield Value(name, float(curve[-1].nanmean()))


def clip_s(encoder: ClipImageEncoder, images: Tensor, target: Tensor) -> Tensor:
    """CLIP-S: cosine of the image embeddings of two batches, (B,) in [-1, 1]; 1 for equal images."""
    return (encoder.embed(images) * encoder.embed(target)).sum(1).double()


def per_view(metric: str, values: Tensor, views: Sequence[int], step: int = FINAL_STEP) -> Iterator[Value]:
    """One value a view, then their mean; views without a value (NaN) are left out of the mean."""
    for view, value in zip(views, values.tolist(), strict=True):
        yield Value(metric, value, view, step)
    yield Value(metric, float(values.nanmean()), MEAN_VIEW, step)


def _lpips(model: Any, images: Tensor, target: Tensor, alpha: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`lpips_scores`, or NaN where there is no network or the images are too small for it."""
    if model is None or min(images.shape[-2:]) < LPIPS_MIN_PX:
        return _no_values(images), _no_values(images)
    return lpips_scores(model, images, target, alpha)


def _dists(model: Dists | None, images: Tensor, target: Tensor) -> Tensor:
    """DISTS, or NaN where there is no network or the images are too small for it."""
    if model is None or min(images.shape[-2:]) < DISTS_MIN_PX:
        return _no_values(images)
    return dists_metric(model)(images, target)


def _no_values(images: Tensor) -> Tensor:
    return torch.full((len(images),), torch.nan, dtype=torch.float64)
