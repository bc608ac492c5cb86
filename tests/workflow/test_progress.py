"""`make demo` shows progress in a terminal and Snakemake's own log elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from aligncvc.files import PROJECT_ROOT


def recipe(terminal: bool) -> str:
    """What `make demo` would call, with or without a terminal behind standard error."""
    ours, theirs = pty.openpty()
    try:
        command = ["make", "--dry-run", "demo", "PYTHON=python3"]
        stderr = theirs if terminal else subprocess.DEVNULL
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return next(line for line in done.stdout.splitlines() if "snakemake" in line)


def test_only_a_terminal_gets_the_logger() -> None:
    assert recipe(terminal=True).endswith("--cores all --logger rich")
    assert "--logger" not in recipe(terminal=False)


def test_the_logger_is_one_that_snakemake_knows() -> None:
    pytest.importorskip("snakemake_logger_plugin_rich", reason="it comes with `make env`")
    assert get_argument_parser().parse_args(["--logger", "rich"]).logger == ["rich"]


def test_a_failed_job_shows_its_log(tmp_path: Path) -> None:
    """The sentence of a fault must reach the reader through this logger too."""
    pytest.importorskip("snakemake_logger_plugin_rich", reason="it comes with `make env`")
    rule = 'rule:\n    output: "x"\n    log: "l.txt"\n    shell: "echo a clear sentence > {log}; exit 1"\n'
    (tmp_path / "Snakefile").write_text(rule)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "x",
        "--cores",
        "1",
        "--show-failed-logs",
        "--logger",
        "rich",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "a clear sentence" in done.stderr
