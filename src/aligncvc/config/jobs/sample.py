"""What sampling one method of one pair, or one control, reads."""

from __future__ import annotations

from typing import Literal, Self

from aligncvc.config.jobs.base import NetworkJob
from aligncvc.errors import UserError
from aligncvc.models.specs import ModelSpec, PairSpec, RunWeights

Control = Literal["gt", "jitter", "shuffled", "copy"]
CONTROL = "control"
"""What stands in the place of a pair where a control has none, and before a control's name."""


def even_timesteps(steps: int) -> list[int]:
    """`steps` descending timesteps from 999, evenly spaced."""
    return [999 - (i * 1000) // steps for i in range(steps)]


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
    """One photograph with one method of one pair: the method, and the camera that is assumed.

    listed: timesteps by number of steps, for runs in another number of them.
    """

    sample: SampleJob
    elevation_deg: float
    distance: float
    fov_y_deg: float
    azimuths_deg: list[float]
    turntable_views: int = 24
    listed: dict[int, list[int]] = {}

    def with_steps(self, steps: int | None) -> Self:
        """The same in another number of steps, at the timesteps that are listed for it or evenly spaced.

        Raises UserError unless there are that many timesteps.
        """
        if steps is None:
            return self
        if not 1 <= steps <= 1000:
            raise UserError(f"steps = {steps} must be 1 to 1000, the timesteps that there are")
        times = None
        if self.sample.timesteps is not None:
            times = self.listed.get(steps) or even_timesteps(steps)
        sample = self.sample.model_copy(update={"steps": steps, "timesteps": times})
        return self.model_copy(update={"sample": sample})
