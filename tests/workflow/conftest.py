"""A copy of the workflow in which every result exists already."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workflow_copy import copy_checkout, jobs, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which every result exists (as an empty shell) and snakemake knows how it came about."""
    folder = copy_checkout(tmp_path_factory.mktemp("finished") / "checkout")
    summary = snakemake(folder, "--summary").stdout
    for line in summary.splitlines():
        name = line.split("\t")[0]
        if name.startswith("results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}\n")
    snakemake(folder, "--touch", "--forceall")
    return folder


@pytest.fixture
def checkout(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished copy, to be edited."""
    target = tmp_path / "checkout"
    shutil.copytree(finished, target)
    return target


@pytest.fixture
def planned(checkout: Path) -> Callable[..., dict[str, int]]:
    """planned(*arguments) -> the jobs that a dry run of `checkout` would start, without the target."""

    def plan(*arguments: str) -> dict[str, int]:
        found = jobs(snakemake(checkout, "-n", *arguments).stdout)
        found.pop("all", None)
        return found

    return plan
