"""Configuration of pairs, rigs and methods: what is sampled, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aligncvc.models.specs import RunWeights
from aligncvc.scene.rigs import Rig
from aligncvc.section import Section


class InlineModel(Section):
    """A generator or reconstructor written into the configuration instead of the ledger."""

    network: dict[str, Any] = Field(description="kind, preset and what differs from it, as in the ledger")
    weights: dict[str, str] = Field(
        default_factory=dict, description="part -> ledger id; parts left out start from random weights"
    )


class Pair(Section):
    """A generator and a reconstructor that work together."""

    generator: str | InlineModel = Field(description="a model of the ledger, or an inline network")
    reconstructor: str | InlineModel = Field(description="a model of the ledger, or an inline network")
    rig: str = Field("orbit4", description="where the generator's views stand, one of rigs")
    reconstruct: list[int] | None = Field(
        None, description="which views of the rig the reconstructor is shown; null: all"
    )
    guidance: float = Field(1.3, description="classifier-free guidance where a method names none")
    aligned: dict[str, RunWeights] = Field(
        default_factory=dict,
        description="alignment run -> its finished weights in the ledger: used as they are, never trained",
    )


def orbit(views: int) -> Rig:
    """Evenly spaced views at the elevation of the renders."""
    return Rig(azimuths_deg=[i * 360 / views for i in range(views)])


class Method(Section):
    """One row of the tables for each pair that it runs on."""

    feedback: str = Field(
        "aligncvc",
        description="when sampling looks at the 3D model and what it feeds back: a module of aligncvc.loop, "
        "or a dotted name of one's own",
    )
    steps: int = Field(4, ge=1, le=1000, description="of the schedule's 1000 timesteps")
    run: str | None = Field(None, description="alignment run whose weights are used; null = pretrained")
    guidance: float | None = Field(None, description="null: the pair's")
    pairs: list[str] | None = Field(None, description="pairs that it runs on; null: all")
    tables: list[Literal["table1", "table2"]] = ["table1"]


class Sample(Section):
    timesteps: dict[int, list[int]] = Field(
        default_factory=lambda: {4: [999, 749, 599, 299]},
        description="feedback at every step: timesteps by K; other K are spaced evenly",
    )
    methods: dict[str, Method] = Field(
        default_factory=lambda: {
            # 2.0 suits two-stage sampling best on training objects, not the 3D-aware loop (lab log).
            "two_stage_50": Method(feedback="two_stage", steps=50, guidance=2.0),
            "two_stage_4": Method(feedback="two_stage", steps=4, guidance=2.0),
            "aware_4": Method(tables=["table1", "table2"]),
            "soft_4": Method(run="soft", tables=["table2"]),
            "hard_4": Method(run="hard", tables=["table2"]),
            "short_4": Method(run="both", tables=["table2"]),
            "aligncvc_4": Method(run="aligned", tables=["table1", "table2"]),
            **{f"aware_{k}": Method(steps=k, tables=["table2"]) for k in (1, 2, 8)},
            **{f"aligncvc_{k}": Method(steps=k, run="aligned", tables=["table2"]) for k in (1, 2, 8)},
        }
    )
