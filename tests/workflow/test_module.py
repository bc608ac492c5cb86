"""The workflow as a module of another: its jobs run, and a prefix is before everything that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from workflow_copy import copy_checkout, jobs, snakemake

from aligncvc.files import PROJECT_ROOT

SNAKEFILE = """
module aligncvc:
    snakefile: "{checkout}/workflow/Snakefile"
    config: config
{prefix}

use rule * from aligncvc as aligncvc_*

rule all:
    default_target: True
    input: rules.aligncvc_all.input
"""


@pytest.mark.parametrize("prefix", ["", "mine"])
def test_a_module_runs_and_stays_in_its_prefix(tmp_path: Path, prefix: str) -> None:
    copy_checkout(tmp_path / "modules/aligncvc")
    line = f'    prefix: "{prefix}"' if prefix else ""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(checkout="modules/aligncvc", prefix=line))
    smoke = ("--configfile", "modules/aligncvc/config/smoke.yaml")
    planned = snakemake(tmp_path, "-n", *smoke).stdout
    alone = snakemake(tmp_path / "modules/aligncvc", "-n", "--configfile", "config/smoke.yaml").stdout
    assert {name.removeprefix("aligncvc_"): n for name, n in jobs(planned).items()} == jobs(alone)
    root = Path(prefix, "results")
    targets = (f"{root}/objects/eval/manifest.tsv", f"{root}/reported.md", f"{root}/checkpoints.txt")
    snakemake(tmp_path, *targets, "--cores", "1", *smoke)
    assert all((tmp_path / target).is_file() for target in targets)
    made = {path.name for path in tmp_path.iterdir()} - {"Snakefile", "modules", ".snakemake", ".cache"}
    assert made == {root.parts[0]}
    assert not list((tmp_path / "modules/aligncvc/results").glob("*.*"))
    option = f" --aligned {root}/align/wonder3d+lgm/both "
    assert option in snakemake(tmp_path, "-n", "-p", *smoke).stdout


def test_the_projects_own_file_is_found_from_elsewhere(tmp_path: Path) -> None:
    """By an absolute path, as `snakemake -s` and a module in another place name it."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(checkout=PROJECT_ROOT, prefix=""))
    config = str(PROJECT_ROOT / "config/smoke.yaml")
    assert jobs(snakemake(tmp_path, "-n", "--configfile", config).stdout)["aligncvc_sample"] == 6
