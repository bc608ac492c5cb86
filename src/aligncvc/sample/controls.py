"""`python -m aligncvc.sample.controls`: a sample set whose consistency is known (`sample.control_views`)."""

from __future__ import annotations

from pathlib import Path

import tyro

from aligncvc.config.jobs.sample import CONTROL, ControlJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli
from aligncvc.sample.control_views import CONTROLS, control_set


def controls(
    renders: Path,
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    control: str | None = None,
    force: bool = False,
) -> None:
    """Write a sample set whose consistency is known beforehand.

    Args:
        renders: manifest.tsv of the ground-truth renders.
        out: Folder for the sample set.
        settings: Settings of this job, as the workflow writes them.
        config: Configuration to make them from; config/config.yaml if both are left out.
        control: gt, jitter, shuffled or copy; only without --settings, which name it.
        force: Write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    if settings is None and control not in CONTROLS:
        raise UserError(f"there is no control {control!r}; choose one of {', '.join(CONTROLS)}")
    job = (
        ControlJob.read(settings, changes) if settings else Plan.read(config, changes).control(control)  # type: ignore[arg-type]
    )
    control_set(job, renders, out, force)
    print(f"{out}: {CONTROL}:{job.control}")


def main() -> None:
    tyro.cli(controls)


if __name__ == "__main__":
    cli(main)
