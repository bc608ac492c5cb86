"""Epipolar consistency of one trial, by the matcher that the protocol names (`metrics.epipolar`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aligncvc.config.protocol_metrics import LEARNED_LEAST_PX, Tsed
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.trial import Trial, Value
from aligncvc.metrics.epipolar import SIFT, Matcher, ring_scores, ring_summary, shown
from aligncvc.scene.cameras import Cameras

DENSE_RIG = 8
"""A rig with so many views has neighbours at most 45 degrees apart."""
EPIPOLAR = ("sed_px", "sampson_px", "tsed", "matches")
"""What is measured. SIFT's have these names; the learned matcher's stand behind LEARNED."""
LEARNED = "disk_lightglue_"


def epipolar_family(trial: Trial, settings: Tsed, matcher: Matcher | None = SIFT) -> Iterator[Value]:
    """`epipolar.ring_summary` of generated views, after each step, or of renderings, as FINAL_STEP.

    Of true views a quarter turn apart most matches are wrong, SIFT's and learned ones. So it is of generated
    views only where neighbours are at most 45 degrees apart; renderings agree as far as the model is opaque.
    Nothing without a matcher, of images too small for it, or of renderings at published pictures' cameras,
    which are no ring. Each name tells which matcher it was.
    """
    prefix = LEARNED if settings.matcher == "disk_lightglue" else ""
    if matcher is None or (images_px(trial) or 0) < least_px(settings):
        return

    def values(rgba: Tensor, cameras: Cameras, step: int) -> Iterator[Value]:
        scores = ring_scores(rgba, cameras, settings.image_px, matcher)
        for name, value in ring_summary(scores, settings.min_matches, settings.max_px).items():
            yield Value(prefix + name, value, step=step)

    if trial.views is not None and len(trial.rig) >= DENSE_RIG:
        cameras = trial.rig_cameras.resized(*reversed(trial.views.shape[-2:]))
        for step, views in enumerate(trial.views, start=1):
            yield from values(torch.cat([views, shown(views)], 1), cameras, step)
    elif trial.model is not None and trial.poses is None:
        with torch.no_grad():
            drawing = trial.model.draw(trial.truth.cameras, 1.0)
        rgba = torch.cat([drawing.rgb.clamp(0, 1), drawing.alpha.clamp(0, 1)], 1)
        yield from values(rgba, trial.truth.cameras, FINAL_STEP)


def images_px(trial: Trial) -> int | None:
    """The smaller side of the images that are matched; None if there are none."""
    if trial.views is not None and len(trial.rig) >= DENSE_RIG:
        return min(trial.views.shape[-2:])
    return None if trial.model is None or trial.poses is not None else min(trial.truth.rgba.shape[-2:])


def least_px(settings: Tsed) -> int:
    """The smallest side of images that the matcher takes."""
    return LEARNED_LEAST_PX if settings.matcher == "disk_lightglue" else 1


def too_small(trial: Trial, settings: Tsed) -> dict[str, str]:
    """By metric, that its images are too small for the matcher ("n/a (...)"); empty if they are not."""
    found, least = images_px(trial), least_px(settings)
    if found is None or found >= least:
        return {}
    reason = f"n/a (the matcher {settings.matcher} needs views of {least} px or more, and these have {found})"
    return dict.fromkeys((LEARNED + name for name in EPIPOLAR), reason)
