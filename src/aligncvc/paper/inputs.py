"""The files of one run that figures and a verdict are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class FigureInputs:
    """What is None or empty is not there."""

    metrics: list[Path]
    """CSVs of records of each pair and method, and of the controls."""
    samples: list[Path]
    """manifest.json of each pair and method, and of each control."""
    renders: Path
    """manifest.tsv of the ground-truth renders."""
    align: tuple[Path, ...] = ()
    """<pair>/<run>/metrics.jsonl of each alignment run; without one there is no training figure."""
    discrimination: Path | None = None
    """discrimination.csv of the controls; metrics that tell nothing apart are marked."""


@dataclass(kw_only=True)
class VerdictInputs(FigureInputs):
    """What the claims are judged by, beside what their pictures show."""

    claims: Path
    """YAML of claims, such as config/claims/verdict.yaml."""
    renderings: tuple[Path, ...] = ()
    """CSVs that python -m aligncvc.evaluate.renderings wrote; tables do not show them."""
    memory: Path | None = None
    """memory.csv that python -m aligncvc.bench.training_memory wrote."""
    notes: Path | None = None
    """YAML of explanations by claim, such as config/verdict-notes.yaml."""
