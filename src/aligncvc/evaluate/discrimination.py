"""`python -m aligncvc.evaluate.discrimination`: which metrics tell right from wrong on this rig?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.evaluate import DiscriminationJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import cli
from aligncvc.evaluate.ranking import as_csv, as_markdown, rank_controls, require
from aligncvc.evaluate.records import concat
from aligncvc.files import write_text
from aligncvc.ownership import claim_files, place


@dataclass
class Discrimination:
    """Rank the controls by the consistency metrics, and say which metrics rank them right."""

    metrics: list[Path]
    """CSVs of records of the controls."""
    out: Path
    """CSV to write; .md comes beside it. Written even if the run then fails."""
    settings: Path | None = None
    """Settings of this job, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from; config/config.yaml if both are left out."""
    force: bool = False
    """Replace files of another origin where the results go."""


def main() -> None:
    arguments = tyro.cli(Discrimination, prog="python -m aligncvc.evaluate.discrimination")
    if arguments.settings is not None:
        job = DiscriminationJob.read(arguments.settings)
    else:
        job = Plan(load_config(arguments.config)).discrimination()
    page = arguments.out.with_suffix(".md")
    verdicts = arguments.out.with_suffix(".verdicts.csv")  # the rule's output appears only if it passes
    claim_files([arguments.out, page, verdicts], inputs=arguments.metrics, force=arguments.force)
    rankings = rank_controls(concat(arguments.metrics), job.seed)
    write_text(page, as_markdown(rankings))
    print(as_markdown(rankings))
    write_text(verdicts, as_csv(rankings))
    require(rankings, job.must_discriminate, verdicts)
    place(verdicts, arguments.out)


if __name__ == "__main__":
    cli(main)
