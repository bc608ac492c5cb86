"""A trial, one object of one method and one seed: its truth beside what the method made, and its values.

Every family of metrics is a function `(Trial, ...) -> Iterable[Value]`; where trials are read from is none of
its business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import trimesh
from torch import Tensor

from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.evaluate.shapes import Model
from aligncvc.scene.views import Views, composite


@dataclass(frozen=True)
class Value:
    """One measured number of a trial. view: ring index, or MEAN_VIEW; step: 1..K, or FINAL_STEP."""

    metric: str
    value: float
    view: int = MEAN_VIEW
    step: int = FINAL_STEP


@dataclass(frozen=True)
class Trial:
    """One object, one seed, one method.

    truth: the ground-truth ring; its cameras stand in the frame of the input view. rig: ring indices of the
    generator's views, the input view first. scored: ring indices that image metrics compare. background:
    grey value both sides are composited on. views, renders: generated views and renderings of their
    reconstruction for each kept sampling step, (K, V, 3, H, W) in [0, 1] on white, V = len(rig); None where
    a prediction has none. model: the final 3D result, or None. surface: the ground-truth mesh in the same
    frame, or None. cost: numbers measured while sampling, by metric name.
    """

    object: str
    seed: int
    truth: Views
    rig: list[int]
    scored: list[int]
    background: float
    views: Tensor | None
    renders: Tensor | None
    model: Model | None
    surface: trimesh.Trimesh | None
    cost: Mapping[str, float]

    @property
    def rig_truth(self) -> Tensor:
        """Ground truth at the rig's poses, (V, 3, H, W) on white, as generators are taught."""
        return self.truth[self.rig].on_white()

    @property
    def scored_truth(self) -> Tensor:
        """Ground truth at the scored poses over `background`, (S, 3, H, W)."""
        return composite(self.truth[self.scored].rgba, self.background)

    def draw_scored(self) -> Tensor | None:
        """The model at the scored views over `background`, (S, 3, H, W) in [0, 1]; None without a model."""
        if self.model is None:
            return None
        with torch.no_grad():
            return self.model.draw(self.truth.cameras[self.scored], self.background).rgb.clamp(0, 1)


def per_view(metric: str, values: Tensor, views: Sequence[int], step: int = FINAL_STEP) -> Iterator[Value]:
    """One value a view, then their mean; views without a value (NaN) are left out of the mean."""
    for view, value in zip(views, values.tolist(), strict=True):
        yield Value(metric, value, view, step)
    yield Value(metric, float(values.nanmean()), MEAN_VIEW, step)
