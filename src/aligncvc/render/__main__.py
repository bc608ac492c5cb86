"""`python -m aligncvc.render`: render the objects of a manifest with BlenderProc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.jobs.render import RenderJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import cli
from aligncvc.render.run import render_set


def render(
    objects: Path,
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    name: Annotated[str, tyro.conf.arg(name="object-set")] = "train",
    workers: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> None:
    """Render every object of a manifest: a ring of RGBA views with depth, normals and cameras.

    Args:
        objects: manifest.tsv of the objects stage.
        out: folder that receives one folder per object, manifest.tsv and contact_sheet.png.
        settings: settings of this job, as the workflow writes them, instead of --config and --object-set.
        config: YAML configuration; config/config.yaml by default.
        name: which set these objects are; `eval` is rendered as the protocol says, others by `render`. The
            configuration says in how many looks (`objects.sets.<name>.variants`).
        workers: Blender processes side by side; one per thread by default.
        threads: CPU threads in all; every one this process may use by default.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    job = RenderJob.read(settings, changes) if settings else Plan.read(config, changes).render(name)
    statuses = render_set(job, objects, out, workers, threads, force)
    print(f"{sum(s.ok for s in statuses)} of {len(statuses)} objects rendered: {out / 'manifest.tsv'}")


COMMAND = render


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
