"""Epipolar consistency of a trial (`aligncvc.metrics.epipolar`): of its views where the rig is dense.

SIFT finds none of the keypoints that two views a quarter turn apart share. So generated views are measured only
where neighbours are at most 45 degrees apart; else renderings of the model at the ring's poses are, which agree
by construction as far as the model is opaque. The controls say whether it means anything.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aligncvc.config.protocols import Tsed
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.trial import Trial, Value
from aligncvc.metrics.epipolar import ring_scores, ring_summary, shown
from aligncvc.scene.cameras import Cameras

DENSE_RIG = 8
"""A rig with so many views has neighbours at most 45 degrees apart."""


def epipolar_family(trial: Trial, settings: Tsed) -> Iterator[Value]:
    """`sed_px`, `sampson_px` (mean over pairs of medians), `tsed` (share of consistent pairs), `matches`.

    Of generated views after each step where the rig is dense; else of the model's renderings at the ring,
    as FINAL_STEP. Pairs are neighbours of the closed ring. Nothing without either.
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
