"""The files of one run that a verdict is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class VerdictInputs:
    """What is None or empty is not there."""

    claims: Path
    """YAML of claims, such as config/claims/verdict.yaml."""
    metrics: list[Path]
    """CSVs of records of each pair and method, and of the controls."""
    samples: list[Path]
    """manifest.json of each pair and method, and of each control."""
    renders: Path
    """manifest.tsv of the ground-truth renders."""
    renderings: tuple[Path, ...] = ()
    """CSVs that python -m aligncvc.evaluate.renderings wrote; tables do not show them."""
    align: tuple[Path, ...] = ()
    """<pair>/<run>/metrics.jsonl of each alignment run."""
    discrimination: Path | None = None
    """discrimination.csv of the controls."""
    memory: Path | None = None
    """memory.csv that python -m aligncvc.bench.training_memory wrote."""
    notes: Path | None = None
    """YAML of explanations by claim, such as config/verdict-notes.yaml."""
