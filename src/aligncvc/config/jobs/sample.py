"""What sampling one method of one pair, or one control, reads."""

from __future__ import annotations

from typing import Literal

from aligncvc.config.jobs.base import NetworkJob
from aligncvc.models.specs import ModelSpec, PairSpec, RunWeights

Control = Literal["gt", "jitter", "shuffled", "copy"]
CONTROL = "control"
"""What stands in the place of a pair where a control has none, and before a control's name."""


class _SetJob(NetworkJob):
    """voxel: edge of the cells that surfaces are extracted with, in the renderer's units."""

    seeds: list[int] = [0]
    voxel: float = 0.03
    max_failure_rate: float = 0.1


class SampleJob(_SetJob):
    """One row of the tables.

    feedback: a module of aligncvc.loop. timesteps: descending, where the feedback starts from a list; None:
    the schedule's own. guidance: classifier-free guidance. run: alignment run, None for the pretrained pair;
    aligned: ledger ids of its weights if they ship with the repository, else they come from `--aligned`.
    """

    pair: PairSpec
    method: str
    feedback: str
    steps: int
    timesteps: list[int] | None = None
    guidance: float
    run: str | None = None
    aligned: RunWeights | None = None
    lora_rank: int = 4


class ControlJob(_SetJob):
    """Views of known consistency through the judge. views_px: side of the views; size_px: of the renders."""

    control: Control
    judge: ModelSpec
    views_px: int
    size_px: int


class PhotoJob(NetworkJob):
    """One photograph with one method of one pair: the method, and the camera that is assumed."""

    sample: SampleJob
    elevation_deg: float
    distance: float
    fov_y_deg: float
    azimuths_deg: list[float]
    turntable_views: int = 24
