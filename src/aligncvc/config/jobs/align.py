"""What one alignment run of one pair reads."""

from __future__ import annotations

from aligncvc.config.alignment import AlignRun, Training
from aligncvc.config.jobs.base import NetworkJob
from aligncvc.models.specs import PairSpec


class AlignJob(NetworkJob):
    """run: its name; losses: which are on; training: the knobs; feedback, timesteps: of the unrolled loop."""

    pair: PairSpec
    run: str
    losses: AlignRun
    training: Training
    feedback: str = "aligncvc"
    timesteps: list[int]
