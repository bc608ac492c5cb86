"""The files of a run that tables, figures, the report and a verdict are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class TableInputs:
    """One table of methods."""

    table: str
    """table1 (methods) or table2 (ablation of the alignment losses)."""
    metrics: list[Path]
    """CSVs of records; methods that the configuration lacks become rows of their own."""
    discrimination: Path | None = None
    """discrimination.csv of the controls; metrics that tell nothing apart are marked."""
    reported: tuple[Path, ...] = ()
    """CSVs of published numbers, shown where their protocol class is the records'."""


@dataclass(kw_only=True)
class ReportInputs:
    """What the page shows; what a run did not make (a figure, a contact sheet, timings) is left out."""

    tables: list[Path]
    """CSVs that the table and costs commands wrote, with their .json beside them."""
    figures: Path
    """index.json that the figures command wrote."""
    samples: list[Path]
    """manifest.json of each pair and method."""
    renders: list[Path]
    """manifest.tsv of each render set."""
    reported: Path | None = None
    """.json that the reported command wrote beside its page."""


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
    """YAML of explanations by claim, such as config/pairs-notes.yaml."""
