"""The demo workflow itself, timed in an empty folder, and the evaluation of a finished run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from aligncvc.bench.measure import Clock, Row, row, timed
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT

COPIED = ("Snakefile", "workflow", "profiles", "envs", "config", "assets", "src", "pyproject.toml")
FIRST_SECONDS, SECOND_SECONDS, EVALUATION_SECONDS = 600.0, 10.0, 120.0
"""What is promised for the demo, for the run after it that has nothing to do, and for its evaluation."""


def bench_demo(clock: Clock) -> list[Row]:
    """The demo in an empty folder, the run after it, and the first one's evaluation."""
    with tempfile.TemporaryDirectory(prefix="aligncvc-bench-") as folder:
        for name in COPIED:
            source = PROJECT_ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder)
        first, second = (timed(lambda: _snakemake(folder), clock)() for _ in range(2))
        evaluation = demo_evaluation(Path(folder, "results"))
    return [
        row("demo_workflow", first, "s", FIRST_SECONDS),
        row("demo_second_run", second, "s", SECOND_SECONDS),
        *evaluation,
    ]


def _snakemake(folder: str) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "all"]
    environment = os.environ | {"PYTHONPATH": str(Path(folder, "src"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the demo workflow failed while it was timed: {done.stderr.strip()[-600:]}")


def demo_evaluation(results: Path) -> list[Row]:
    """Evaluation of a finished run, if there is one: seconds of its jobs, one thread each, over the cores."""
    files = sorted((results / "benchmarks/evaluate").rglob("*.jsonl"))
    if not files:
        return []
    total = sum(json.loads(path.read_text().splitlines()[-1])["s"] for path in files)
    return [row("demo_evaluation", total / (os.cpu_count() or 1), "s", EVALUATION_SECONDS)]
