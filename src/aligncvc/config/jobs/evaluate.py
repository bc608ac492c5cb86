"""What scoring reads: the protocol, the judge, how much is measured along the steps, whose predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from aligncvc.config.jobs.base import Job, NetworkJob
from aligncvc.config.protocols import Protocol
from aligncvc.home import project_file
from aligncvc.models.specs import ModelSpec
from aligncvc.section import Section

ELSEWHERE = "elsewhere"
"""The pair of predictions that this project's models did not make."""

Up = Literal["y", "z"]
"""An axis that points up."""


class EvaluateJob(NetworkJob):
    """One sample set or prediction.

    judge: the reconstructor behind held-out and split-half scores. curves: whether these are measured along
    the steps. reserved: names of the configuration's own methods, which predictions may not take.
    """

    aside: ClassVar[dict[str, Any]] = {"reserved": True}

    protocol: Protocol
    judge: ModelSpec
    curves: bool = False
    reserved: list[str] = []


class Predictions(Section):
    """A folder of predictions made elsewhere, which becomes a row of table 1."""

    folder: str = Field(
        description="as docs/evaluating-your-method.md has it, relative to the repository's root"
    )
    up: Up = Field(
        "z",
        description="the axis that points up in its OBJ and PLY files, Gaussians too; with y the front is at "
        "+z as in a GLB, which is always y up",
    )

    @property
    def path(self) -> Path:
        """The folder, wherever the workflow runs."""
        return project_file(self.folder)


class PredictionJob(EvaluateJob):
    """The predictions of one method of `evaluate.predictions`. method: their key there."""

    method: str
    predictions: Predictions


class DiscriminationJob(Job):
    """must_discriminate: metrics that must rank the controls, or the run fails."""

    must_discriminate: list[str] = []
