"""python -m aligncvc.bench: every speed the project promises, measured in one run, most as ratios."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console
from rich.table import Table

from aligncvc.config.option import Changes
from aligncvc.errors import cli
from aligncvc.files import PROJECT_ROOT, write_json
from aligncvc.ownership import claim_files

if TYPE_CHECKING:
    from aligncvc.bench.measure import Row

Name = Literal[
    "splat", "sampling", "metrics", "blender", "demo", "deformable", "full_size", "calls", "planning",
    "growth",
]  # fmt: skip
PREFIXES: dict[Name, tuple[str, ...]] = {
    "splat": ("splat_",),
    "sampling": ("image_to_gaussians_", "network_calls_"),
    "metrics": ("metrics_", "ssim_", "lpips_"),
    "blender": ("blenderproc_",),
    "demo": ("demo_",),
    "deformable": ("deformable_attention_",),
    "full_size": ("full_size_",),
    "calls": ("call_",),
    "planning": ("planning_",),
    "growth": ("growth_",),
}
"""How the rows of each bench begin."""


@dataclass
class Args:
    """Measure; print a table and write it as JSON."""

    out: Path = Path("results/bench.json")
    """where the rows go"""
    config: Path | None = None
    """configuration whose first pair is sampled and whose protocol's metrics are timed (default
    config/config.yaml)"""
    changes: Changes = ()
    only: tuple[Name, ...] = ()
    """measure only these; the other rows of `out` stay"""
    clock: Literal["wall", "cpu"] = "wall"
    """wall seconds, or seconds that processors computed: for rasteriser, metrics, demo, planning and growth
    on a machine that does other work as well"""
    force: bool = False
    """replace `out` even if it is of another origin"""
    demo: bool = True
    """run the whole demo workflow in an empty folder as well (minutes)"""
    full_size: Literal["off", "parts", "whole"] | None = None
    """the networks of config/paper.yaml: each part of the samplers once, or whole samplers too (default:
    whole on CUDA; parts on a CPU, minutes)"""


def benches(args: Args) -> dict[Name, Callable[[], list[Row]]]:
    """What is measured, in this order."""
    from aligncvc.bench.blender import bench_blender
    from aligncvc.bench.calls import bench_calls
    from aligncvc.bench.deformable import bench_deformable
    from aligncvc.bench.demo import bench_demo, demo_evaluation
    from aligncvc.bench.evaluation import bench_metrics
    from aligncvc.bench.growth import bench_growth
    from aligncvc.bench.measure import CLOCKS
    from aligncvc.bench.networks import bench_full_size, bench_sampling, sampling_jobs
    from aligncvc.bench.planning import bench_planning
    from aligncvc.bench.rasteriser import bench_rasteriser
    from aligncvc.config.plan import Plan

    clock, plan = CLOCKS[args.clock], Plan.read(args.config, args.changes)
    return {
        "splat": lambda: bench_rasteriser(clock),
        "sampling": lambda: bench_sampling(sampling_jobs(plan)),
        "metrics": lambda: bench_metrics(plan.evaluate(), clock),
        "blender": bench_blender,
        "demo": lambda: bench_demo(clock) if args.demo else demo_evaluation(PROJECT_ROOT / "results"),
        "deformable": lambda: bench_deformable(args.clock),
        "full_size": lambda: bench_full_size(mode=args.full_size),
        "calls": bench_calls,
        "planning": lambda: bench_planning(args.clock),
        "growth": lambda: bench_growth(args.clock),
    }


def kept_rows(path: Path, measured: tuple[Name, ...]) -> list[Row]:
    """Rows of an earlier file that belong to other benches than those measured."""
    earlier: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    begin = tuple(prefix for name in measured for prefix in PREFIXES[name])
    return [row for row in earlier if not row["name"].startswith(begin)]


COMMAND = Args


def main() -> None:
    args = tyro.cli(COMMAND)
    from aligncvc.hardware import hardware

    claim_files([args.out], force=args.force)

    console = Console()
    rows = kept_rows(args.out, args.only) if args.only else []
    for name, bench in benches(args).items():
        if not args.only or name in args.only:
            console.print(f"{name} ...")
            rows += [{**row, "hardware": hardware()} for row in bench()]
    write_json(args.out, rows)
    columns = ("name", "value", "unit", "reference", "ratio", "note")
    table = Table(*columns, title=hardware())
    for row in rows:
        cells = (row.get(column) for column in columns)
        table.add_row(*(f"{c:.4g}" if isinstance(c, float) else str("" if c is None else c) for c in cells))
    console.print(table)


if __name__ == "__main__":
    cli(main)
