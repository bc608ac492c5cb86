"""`python -m aligncvc.sample.controls`: a sample set whose consistency is known (`sample.control_views`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.sample import ControlJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import UserError, cli
from aligncvc.sample.control_views import CONTROL, CONTROLS, control_set


@dataclass
class Controls:
    """Write a sample set whose consistency is known beforehand."""

    renders: Path
    """manifest.tsv of the ground-truth renders."""
    out: Path
    """Folder for the sample set."""
    settings: Path | None = None
    """Settings of this job, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from; config/config.yaml if both are left out."""
    control: str | None = None
    """gt, jitter, shuffled or copy; only without --settings, which name it."""
    force: bool = False
    """Write into `out` even if it holds files of another origin, and replace those of the same name."""


def main() -> None:
    arguments = tyro.cli(Controls)
    if arguments.settings is not None:
        job = ControlJob.read(arguments.settings)
    elif arguments.control not in CONTROLS:
        raise UserError(f"there is no control {arguments.control!r}; choose one of {', '.join(CONTROLS)}")
    else:
        job = Plan(load_config(arguments.config)).control(arguments.control)  # type: ignore[arg-type]
    control_set(job, arguments.renders, arguments.out, arguments.force)
    print(f"{arguments.out}: {CONTROL}:{job.control}")


if __name__ == "__main__":
    cli(main)
