"""What is scored: one object of one method, its truth beside what the method made of it.

Every family of metrics is a function `(Subject, tools) -> Iterable[Value]` over these types; how samples are
read from disk (`score.py`) and where predictions of others come from (`predictions.py`) is none of its
business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import trimesh
from torch import Tensor

from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.views import Views, composite
from aligncvc.splat import Rendering


@dataclass(frozen=True)
class Value:
    """One measured number of a subject. view: ring index, or MEAN_VIEW; step: 1..K, or FINAL_STEP."""

    metric: str
    value: float
    view: int = MEAN_VIEW
    step: int = FINAL_STEP


class Model(Protocol):
    """A 3D result, in the frame of the input view (input view at azimuth 0, object in the unit sphere)."""

    def draw(self, cameras: Cameras, background: float) -> Rendering:
        """rgb (V, 3, H, W) in [0, 1]; alpha, depth (V, 1, H, W); depth is z in the camera, 0 = nothing."""

    def mesh(self) -> trimesh.Trimesh | None:
        """The surface, in the same frame; None if the model has none (nothing opaque)."""


@dataclass(frozen=True)
class Subject:
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
