"""Tables, figures and the report: their section of the configuration, and what they read beside files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aligncvc.config.jobs.base import Job
from aligncvc.config.protocols import Protocol
from aligncvc.section import Section


class Paper(Section):
    """What tables, figures and the report show."""

    columns: list[str] = Field(
        [
            "psnr", "ssim", "lpips", "dists", "fg_psnr", "chamfer_half_sum@none", "f_0.1@none",
            "residual_psnr", "delta_psnr", "heldout_psnr", "split_psnr",
            "kernel_lite0_views_renders", "kernel_lite0_renders",
            "network_calls", "seconds", "cpu_seconds", "peak_mb",
        ],
        description="metrics that tables show, in order; their CSV holds all that were measured",
    )  # fmt: skip
    reference: dict[Literal["table1", "table2"], str] = Field(
        default_factory=dict,
        description="the row that others are compared with; left out: the two-stage row with most steps "
        "(table1), the 3D-aware row without alignment at the number of steps that most rows have (table2)",
    )
    compared: list[str] = Field(
        ["psnr", "lpips", "residual_psnr"], description="metrics with a difference and win rate to that row"
    )
    showcase: int = Field(6, ge=1, description="objects shown in figures and report")
    turntable_views: int = Field(24, ge=1, description="frames of each turning model")
    viewer_models: int = Field(6, ge=0, description="rotating models in the report")
    claims: str | None = Field(
        None, description="YAML of claims that `snakemake verdict` judges, such as config/claims/verdict.yaml"
    )
    notes: str | None = Field(
        None,
        description="YAML of what people make of the claims' lines, by claim, such as "
        "config/pairs-notes.yaml; printed on the verdict's page, it changes no judgement",
    )


class Row(Section):
    """One method of one pair, as tables and figures show it.

    alignment: none, soft, hard, both, regression, official (soft as in the released code). trained: whether
    this workflow trained the run; False for bundled weights and for none. kept: which steps' views and
    renderings are kept, from 0.
    """

    pair: str
    method: str
    feedback: str
    steps: int
    kept: list[int] = []
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
