"""What tables, figures and the report read beside their input files."""

from __future__ import annotations

from typing import Literal

from aligncvc.config.jobs.base import Job
from aligncvc.config.paper import Paper
from aligncvc.config.protocols import Protocol
from aligncvc.section import Section


class Row(Section):
    """One method of one pair, as tables and figures show it.

    alignment: none, soft, hard, both, regression, official (soft as in the released code). trained: whether
    this workflow trained the run; False for bundled weights and for none.
    """

    pair: str
    method: str
    feedback: str
    steps: int
    guidance: float
    run: str | None = None
    alignment: str = "none"
    trained: bool = False
    tables: list[Literal["table1", "table2"]] = ["table1"]


class PairFacts(Section):
    """What the page says about a pair. demo: its weights ship with the repository."""

    name: str
    generator: str
    reconstructor: str
    views: int
    views_px: int
    renderings_px: int
    demo: bool


class PaperJob(Job):
    """rows: in the tables' order, pair by pair. object_lists: TSVs with the objects' names for people."""

    pairs: list[PairFacts]
    rows: list[Row]
    controls: list[str]
    curves: list[str]
    protocol: Protocol
    paper: Paper
    object_lists: list[str] = []

    @property
    def seeds(self) -> list[int]:
        """Seeds of the sampling runs, which the protocol names."""
        return self.protocol.seeds
