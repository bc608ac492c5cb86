"""`python -m aligncvc.evaluate.discrimination`: which metrics tell right from wrong on this rig?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.evaluate import DiscriminationJob
from aligncvc.config.plan import Plan
from aligncvc.errors import cli
from aligncvc.evaluate.options import Settings
from aligncvc.evaluate.ranking import as_csv, as_markdown, rank_controls, require
from aligncvc.evaluate.scores import Scores
from aligncvc.files import write_text
from aligncvc.ownership import claim_files, place


@dataclass
class Discrimination(Settings):
    """Rank the controls by the consistency metrics, and say which metrics rank them right."""

    metrics: list[Path]
    """CSVs of records of the controls."""
    out: Path
    """CSV to write; .md comes beside it. Written even if the run then fails."""
    force: bool = False
    """Replace files of another origin where the results go."""


def main() -> None:
    arguments = tyro.cli(Discrimination)
    job = arguments.job(DiscriminationJob, Plan.discrimination)
    page = arguments.out.with_suffix(".md")
    verdicts = arguments.out.with_suffix(".verdicts.csv")  # the rule's output appears only if it passes
    claim_files([arguments.out, page, verdicts], inputs=arguments.metrics, force=arguments.force)
    rankings = rank_controls(Scores.read(arguments.metrics, job.seed))
    write_text(page, as_markdown(rankings))
    print(as_markdown(rankings))
    write_text(verdicts, as_csv(rankings))
    require(rankings, job.must_discriminate, verdicts)
    place(verdicts, arguments.out)


if __name__ == "__main__":
    cli(main)
