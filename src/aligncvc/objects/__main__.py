"""`python -m aligncvc.objects --object-set NAME --out DIR`: fetch one set of 3D objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli
from aligncvc.objects.fetch import CACHE, fetch_set


def fetch(
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    name: Annotated[str | None, tyro.conf.arg(name="object-set")] = None,
    cache: Path | None = None,
    force: bool = False,
) -> None:
    """Fetch a named set of 3D objects as checked GLBs with a manifest.

    Args:
        out: folder for the GLBs and manifest.tsv.
        settings: settings of this job, as the workflow writes them.
        config: configuration to make them from (default: config/config.yaml).
        name: which of the configuration's objects.sets.
        cache: folder for downloads that are kept between runs; .cache/objects of the checkout if left out.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    if (settings is None) == (name is None):
        raise UserError("give either --settings, or --object-set with the name of an object set")
    job = ObjectsJob.read(settings, changes) if settings else Plan.read(config, changes).objects(str(name))
    rows = fetch_set(job, out, cache=cache or CACHE, force=force)
    good = sum(row.status == "ok" for row in rows)
    manifest = f"{out}/manifest.tsv"
    print(f"{manifest}: {good} of {len(rows)} objects")
    if good == 0:
        raise UserError(f"no object of the set {job.set!r} could be used; the reasons are in {manifest}")


COMMAND = fetch


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
