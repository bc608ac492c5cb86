"""`python -m aligncvc.objects --set NAME --out DIR`: fetch one set of 3D objects."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import UserError, cli
from aligncvc.objects.fetch import CACHE, fetch_set
from aligncvc.objects.listing import ManifestRow


@dataclass
class Arguments:
    """Fetch a named set of 3D objects as checked GLBs with a manifest."""

    out: Path
    """Folder for the GLBs and manifest.tsv."""
    settings: Path | None = None
    """Settings of this job, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from (default: config/config.yaml)."""
    name: Annotated[str | None, tyro.conf.arg(name="set")] = None
    """Which of the configuration's objects.sets."""
    cache: Path = CACHE
    """Folder for downloads that are kept between runs."""
    force: bool = False
    """Write into `out` even if it holds files of another origin, and replace those of the same name."""


def show(number: int, total: int, row: ManifestRow) -> None:
    """One line for each failure and every hundredth object."""
    if row.status == "failed":
        print(f"[{number}/{total}] {row.id}: failed: {row.reason}", file=sys.stderr, flush=True)
    elif number % 100 == 0 or number == total:
        print(f"[{number}/{total}] {row.id}", file=sys.stderr, flush=True)


def main() -> None:
    arguments = tyro.cli(Arguments)
    if (arguments.settings is None) == (arguments.name is None):
        raise UserError("give either --settings, or --set with the name of an object set")
    if arguments.settings is not None:
        job = ObjectsJob.read(arguments.settings)
    else:
        job = Plan(load_config(arguments.config)).objects(str(arguments.name))
    rows = fetch_set(job, arguments.out, cache=arguments.cache, progress=show, force=arguments.force)
    good = sum(row.status == "ok" for row in rows)
    print(f"{arguments.out}/manifest.tsv: {good} of {len(rows)} objects")
    if good == 0:
        raise UserError(f"no object of the set {job.set!r} could be used; the reasons are in "
                        f"{arguments.out}/manifest.tsv")  # fmt: skip


if __name__ == "__main__":
    cli(main)
