"""`python -m aligncvc.objects --config C --set NAME --out DIR`: fetch one set of 3D objects."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.sections import load_config
from aligncvc.errors import UserError, cli
from aligncvc.objects.fetch import CACHE, fetch_set, object_set
from aligncvc.objects.listing import ManifestRow


@dataclass
class Arguments:
    """Fetch a named set of 3D objects as checked GLBs with a manifest."""

    name: Annotated[str, tyro.conf.arg(name="set")]
    """Which of the configuration's objects.sets."""
    out: Path
    """Folder for the GLBs and manifest.tsv."""
    config: Path | None = None
    """YAML configuration (default: config/config.yaml)."""
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
    objects = object_set(load_config(arguments.config), arguments.name)
    rows = fetch_set(objects, arguments.out, cache=arguments.cache, progress=show, force=arguments.force)
    good = sum(row.status == "ok" for row in rows)
    print(f"{arguments.out}/manifest.tsv: {good} of {len(rows)} objects")
    if good == 0:
        raise UserError(f"no object of the set {arguments.name!r} could be used; the reasons are in "
                        f"{arguments.out}/manifest.tsv")  # fmt: skip


if __name__ == "__main__":
    cli(main)
