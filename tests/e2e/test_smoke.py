"""The whole graph on the smallest configuration: real objects, real classes, two pairs, in a copy.

One run serves all tests of this file, in order: a killed alignment, its resumption, the complete run, the
second run that does nothing, an edit that reruns one stage.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aligncvc.files import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "tests/workflow"))

from workflow_copy import copy_checkout, jobs, snakemake

pytestmark = [pytest.mark.slow, pytest.mark.blender]

# More steps than smoke.yaml has, so that the kill comes in their midst.
CONFIG = ("--configfile", "config/smoke.yaml", "--config", "align={steps: 12}")
COLUMNS = (
    "method",
    "pair",
    "steps",
    "objects",
    "psnr",
    "ssim",
    "lpips",
    "residual_psnr",
    "seconds",
    "peak_mb",
)


def kill_alignment_after_its_first_state(folder: Path) -> list[int]:
    """Once a state was saved, SIGKILL every process in this folder that runs the align job."""
    state = folder / "results/align/wonder3d+lgm/both/state/state.pt"
    deadline = time.monotonic() + 1200
    while not state.exists():
        if time.monotonic() > deadline:
            raise AssertionError("the alignment saved no state in twenty minutes")
        time.sleep(0.05)
    killed = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            here = (entry / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        if here and b"aligncvc.align" in command:
            os.kill(int(entry.name), signal.SIGKILL)
            killed.append(int(entry.name))
    return killed


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("smoke") / "checkout")


@pytest.fixture(scope="module")
def crashed(tree: Path) -> tuple[Path, str]:
    """The alignment killed with SIGKILL at its first saved state; the output of that run."""
    killed: list[int] = []
    watcher = threading.Thread(target=lambda: killed.extend(kill_alignment_after_its_first_state(tree)))
    watcher.start()
    result = snakemake(tree, "results/align/wonder3d+lgm/both/student.safetensors", *CONFIG, check=False)
    watcher.join()
    assert killed, "nothing was killed"
    assert result.returncode, "the run succeeded although its job was killed"
    return tree, result.stdout


@pytest.fixture(scope="module")
def complete(crashed: tuple[Path, str]) -> Path:
    tree, _ = crashed
    snakemake(tree, *CONFIG)
    return tree


def test_a_killed_job_is_named_and_leaves_no_result(crashed: tuple[Path, str]) -> None:
    tree, output = crashed
    assert "Error in rule align" in output
    assert not (tree / "results/align/wonder3d+lgm/both/student.safetensors").exists()


def test_it_went_on_from_the_saved_state(complete: Path) -> None:
    """Each step is listed once, and the resumed run did not begin at the first."""
    lines = (complete / "results/align/wonder3d+lgm/both/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert len(steps) == len(set(steps)) == 12 and steps == sorted(steps)
    log = (complete / "results/logs/align/wonder3d+lgm/both.log").read_text()
    reported = [int(step) for step in re.findall(r"^(\d+)/12 ", log, re.MULTILINE)]
    assert reported[0] > 1 and reported[-1] == 12, log


def test_tables(complete: Path) -> None:
    """Both pairs' methods are rows of both tables, each with its own numbers; controls come once."""
    for table, methods in {"table1": 3, "table2": 2}.items():
        with (complete / f"results/{table}.csv").open() as handle:
            lines = list(csv.DictReader(handle))
        rows = [row for row in lines if not row["method"].startswith("control:")]
        assert len(lines) - len(rows) == 4
        assert [row["pair"] for row in rows].count("wonder3d+lgm") == methods
        assert [row["pair"] for row in rows].count("ring+lgm-head") == methods
        assert len({(row["method"], row["psnr"]) for row in rows}) == len(rows) == 2 * methods
        assert set(COLUMNS) <= set(rows[0])
        for row in rows:
            assert row["steps"] == "2" and row["objects"] == "2"
            for column in COLUMNS[4:]:
                assert float(row[column]) == float(row[column]), f"{table} {row['method']} {column} is NaN"
        for suffix in (".md", ".tex"):
            text = (complete / f"results/{table}{suffix}").read_text()
            assert all(row["method"].split("_")[0] in text for row in rows)


def test_products(complete: Path) -> None:
    report = (complete / "results/report.html").read_text()
    assert "wonder3d+lgm" in report and "ring+lgm-head" in report
    assert not re.search(r"<(script|img|link|iframe)\b[^>]*(src|href)=[\"']?http", report)
    assert any((complete / "results/figures").iterdir())
    models = list((complete / "results/sample").glob("*/*/*/seed0/model.ply"))
    assert len(models) == 20  # two objects by three methods of two pairs and four controls
    assert (complete / "results/discrimination.csv").is_file()
    assert all(model.read_bytes().startswith(b"ply\n") for model in models)


def test_second_run_does_nothing(complete: Path) -> None:
    assert "Nothing to be done" in snakemake(complete, *CONFIG).stdout


def test_comment_reruns_nothing_and_code_just_its_stage(complete: Path) -> None:
    module = complete / "src/aligncvc/paper/__init__.py"
    text = module.read_text()
    try:
        module.write_text(text + "\n# a comment\n")
        assert jobs(snakemake(complete, "-n", *CONFIG).stdout) == {}
        module.write_text(text + "\nEDITED = True\n")
        found = jobs(snakemake(complete, "-n", *CONFIG).stdout)
        assert found == {"table": 2, "costs": 1, "reported": 1, "figures": 1, "report": 1, "all": 1}
    finally:
        module.write_text(text)


def test_snakemake_report(complete: Path) -> None:
    """Snakemake's own report, with captions."""
    snakemake(complete, *CONFIG, "--report", "report.zip")
    assert (complete / "report.zip").stat().st_size > 100_000


def test_modules_say_what_they_do() -> None:
    """Each stage works alone: `python -m aligncvc.<stage> --help`."""
    for stage in ("objects", "render", "checkpoints", "align", "sample", "evaluate", "paper"):
        result = subprocess.run(
            [sys.executable, "-m", f"aligncvc.{stage}", "--help"],
            cwd=PROJECT_ROOT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT / "src")},
            capture_output=True,
            check=True,
        )
        assert "usage" in result.stdout.lower(), stage
