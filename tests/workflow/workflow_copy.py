"""A copy of the workflow in a temporary folder, and snakemake run in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from aligncvc.files import PROJECT_ROOT
from aligncvc.models.ledger.ledger import load_ledger

PARTS = ("Snakefile", "workflow", "profiles", "envs", "config", "src", "assets", "pyproject.toml")


def copy_checkout(target: Path) -> Path:
    """Copy what the workflow consists of, without results and caches."""
    target.mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    for part in PARTS:
        source = PROJECT_ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=ignore)
        elif source.exists():
            shutil.copy(source, target / part)
    (target / "results").mkdir()
    return target


def checkpoint_mark(name: str) -> str:
    """The target that says that a file of the ledger has the bytes it should have."""
    return f"results/checkpoints/{name}-{str(load_ledger().entry(name).sha256)[:12]}.txt"


def snakemake(
    folder: Path, *arguments: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `folder` with this interpreter but without its PATH or PYTHONPATH being prepared."""
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    folders = [p for p in variables["PATH"].split(os.pathsep) if p != str(Path(sys.executable).parent)]
    variables |= {"PATH": os.pathsep.join(folders), **environment}
    command = [sys.executable, "-m", "snakemake", *arguments]
    result = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        text=True,
        check=False,
        timeout=2400,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if check and result.returncode:
        raise AssertionError(f"snakemake {' '.join(arguments)} failed:\n{result.stdout}")
    return result


def jobs(output: str) -> dict[str, int]:
    """The table "Job stats" of a dry run: rule -> number of jobs; empty when nothing is to be done."""
    match = re.search(r"^Job stats:\n.*\n-+ +-+\n((?:.*\n)*?)total", output, re.MULTILINE)
    if match is None:
        assert "Nothing to be done" in output, output
        return {}
    return {name: int(count) for name, count in (line.split() for line in match[1].splitlines())}
