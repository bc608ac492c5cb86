"""`snakemake --use-conda` with a stand-in for conda (a test double, see conda_stand_in.py)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from workflow_copy import checkpoint_mark, copy_checkout, snakemake

pytestmark = pytest.mark.slow


def test_rules_run_in_their_conda_environments(tmp_path: Path) -> None:
    tree = copy_checkout(tmp_path / "checkout")
    stand_in = tmp_path / "conda/bin/conda"
    stand_in.parent.mkdir(parents=True)
    script = Path(__file__).with_name("conda_stand_in.py")
    stand_in.write_text(f"#!/bin/bash\nexec '{sys.executable}' '{script}' \"$@\"\n")
    stand_in.chmod(0o755)
    targets = ("results/objects/eval/manifest.tsv", checkpoint_mark("lite0"))
    snakemake(
        tree,
        *targets,
        "--use-conda",
        "--configfile",
        "config/smoke.yaml",
        PATH=f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}",
        CONDA_STAND_IN_HOME=str(tmp_path / "conda"),
    )
    created = list((tree / ".snakemake/conda").glob("*/created-by-the-stand-in"))
    assert len(created) == 2, "the environments render and torch, each once"
    assert all((tree / target).stat().st_size for target in targets)
    assert "lite0: ok" in (tree / targets[1]).read_text()
