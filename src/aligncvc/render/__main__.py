"""`python -m aligncvc.render`: render the objects of a manifest with BlenderProc."""

from __future__ import annotations

from pathlib import Path

import tyro

from aligncvc.config import load_config
from aligncvc.errors import cli
from aligncvc.render.run import render_set, stop_on_terminate


def render(
    objects: Path,
    out: Path,
    config: Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    variants: int = 1,
) -> None:
    """Render every object of a manifest: a ring of RGBA views with depth, normals and cameras.

    Args:
        objects: manifest.tsv of the objects stage.
        out: folder that receives one folder per object, manifest.tsv and contact_sheet.png.
        config: YAML configuration; config/config.yaml by default.
        workers: Blender processes side by side; one per thread by default.
        threads: CPU threads in all; every one this process may use by default.
        variants: looks of each object: its own, and others with random colours, proportions and heading.
    """
    stop_on_terminate()
    statuses = render_set(load_config(config), objects, out, workers, threads, variants)
    print(f"{sum(s.ok for s in statuses)} of {len(statuses)} objects rendered: {out / 'manifest.tsv'}")


def main() -> None:
    """Entry point."""
    tyro.cli(render)


if __name__ == "__main__":
    cli(main)
