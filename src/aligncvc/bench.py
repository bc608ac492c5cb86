"""python -m aligncvc.bench: every speed the project promises, measured in one run.

The rasteriser against its dense oracle, four aligned steps against fifty unaligned ones, all metrics of one
object and how they grow, BlenderProc against plain Blender, and the demo workflow itself in an empty folder,
followed by its second run; and the paper's networks at full size (`benches.full_size`).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from aligncvc.benches.rows import Row, row
from aligncvc.config import load_config
from aligncvc.errors import UserError, cli
from aligncvc.files import PROJECT_ROOT, write_json
from aligncvc.hardware import hardware
from aligncvc.ownership import claim_files

REPEATS = 5
LINKED = ("Snakefile", "workflow", "profiles", "envs", "config", "assets", "src", "pyproject.toml")


@dataclass
class Args:
    """Measure; print a table and write it as JSON."""

    out: Path = Path("results/bench.json")
    """where the rows go"""
    config: Path | None = None
    """configuration (default config/config.yaml)"""
    demo: bool = True
    """run the whole demo workflow in an empty folder as well (minutes)"""
    full_size: Literal["off", "parts", "whole"] | None = None
    """the networks of config/paper.yaml: each part of the samplers once, or whole samplers too (default:
    whole on CUDA; parts on a CPU, minutes)"""
    force: bool = False
    """replace `out` even if it is of another origin"""


def bench_sampling(config_path: Path | None) -> list[Row]:
    """One object from image to Gaussians: 3D-aware at 4 steps against two-stage at 50, taken in turns."""
    from aligncvc.benches.weights import input_image, rig
    from aligncvc.config import Method
    from aligncvc.pair import load_pretrained
    from aligncvc.sample.batch import sample_one

    config = load_config(config_path)
    generator, reconstructor = load_pretrained(config)
    cameras, image = rig(config), input_image(config)
    methods = {"fifty": Method(sampler="two_stage", steps=50), "four": Method(steps=4)}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    calls = {}
    for _ in range(REPEATS + 1):
        for name, method in methods.items():
            _, cost = sample_one(generator, reconstructor, method, config, image, cameras, 0, "bench")
            seconds[name].append(cost.seconds)
            calls[name] = cost.network_calls
    median = {name: statistics.median(samples[1:]) for name, samples in seconds.items()}  # the first warms up
    return [
        row("image_to_gaussians_4_steps", median["four"], "s/object", median["fifty"]),
        row("image_to_gaussians_50_steps", median["fifty"], "s/object"),
        row("network_calls_4_steps", calls["four"], "calls", calls["fifty"]),
    ]


def bench_blender() -> list[Row]:
    """What BlenderProc costs beside plain Blender: the same object, views, samples and passes, in turns."""
    from aligncvc.render.overhead import measure

    glb = min((PROJECT_ROOT / "assets/objects").glob("*.glb"))
    found = measure(glb)
    return [
        row("blenderproc_per_view", found["blenderproc_view"], "s/view", found["blender_view"]),
        row("blenderproc_start", found["blenderproc_start"], "s", found["blender_start"]),
    ]


def bench_metrics(config_path: Path | None) -> list[Row]:
    """Metrics of one object at 16 views of 256x256, family by family, growth with objects, references."""
    from aligncvc.evaluate import bench

    return [row(*found) for found in bench.bench_metrics(load_config(config_path))]


def demo_evaluation(results: Path) -> list[Row]:
    """All evaluation rules of a finished demo run together."""
    from aligncvc.evaluate import bench

    return [row(*found) for found in bench.demo_evaluation(results)]


def bench_demo(console: Console) -> list[Row]:
    """The demo workflow in an empty folder, and the run after it that has nothing to do."""
    with tempfile.TemporaryDirectory(prefix="aligncvc-bench-") as folder:
        for name in LINKED:
            source = PROJECT_ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder)
        command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "all"]
        environment = os.environ | {"PYTHONPATH": str(Path(folder, "src"))}
        seconds = []
        for label in ("first", "second"):
            console.print(f"demo workflow, {label} run ...")
            start = time.perf_counter()
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            seconds.append(time.perf_counter() - start)
            if done.returncode:
                raise UserError(f"the demo workflow failed while it was timed: {done.stderr.strip()[-600:]}")
        evaluation = demo_evaluation(Path(folder, "results"))
    return [
        row("demo_workflow", seconds[0], "s", 600.0),
        row("demo_second_run", seconds[1], "s", 10.0),
        *evaluation,
    ]


def main() -> None:
    args = tyro.cli(Args)
    claim_files([args.out], force=args.force)
    from aligncvc.benches.full_size import bench_full_size
    from aligncvc.splat.bench import bench_splat

    console = Console()
    rows: list[Row] = []
    rows += bench_splat()
    rows += bench_sampling(args.config)
    rows += bench_metrics(args.config)
    rows += bench_blender()
    rows += bench_demo(console) if args.demo else demo_evaluation(PROJECT_ROOT / "results")
    console.print("networks at full size ...")
    measured, left_out = bench_full_size(mode=args.full_size)
    rows += measured
    device = hardware()
    write_json(args.out, [{**r, "hardware": device} for r in rows])
    columns = ("name", "value", "unit", "reference", "ratio", "note")
    table = Table(*columns, title=device)
    for r in rows:
        cells = (r.get(column) for column in columns)
        table.add_row(*(f"{c:.4g}" if isinstance(c, float) else str("" if c is None else c) for c in cells))
    console.print(table)
    for sentence in left_out:
        console.print(sentence, highlight=False)


if __name__ == "__main__":
    cli(main)
