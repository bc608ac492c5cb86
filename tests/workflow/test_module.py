"""The workflow as a module of another: its jobs run, and a prefix is before everything that it writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from workflow_copy import checkpoint_mark, copy_checkout, jobs, snakemake

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
    mark = str(Path(prefix, checkpoint_mark("lite0")))
    targets = (f"{root}/objects/eval/manifest.tsv", f"{root}/reported.md", mark)
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


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which git finds https://github.com/someone/aligncvc, tag v1, in a folder here."""
    home = tmp_path_factory.mktemp("hub")
    repository = copy_checkout(home / "someone/aligncvc")
    shutil.copy(PROJECT_ROOT / "LICENSE", repository)
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "all"), ("tag", "v1")):
        subprocess.run(("git", *words), cwd=repository, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{home}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONPATH": str(PROJECT_ROOT / "src"),  # the environment's package
    }


def test_rules_alone_use_the_environments_checkout(tmp_path: Path, hub: dict[str, str]) -> None:
    """`github(...)` brings no package and no configuration."""
    source = 'github("someone/aligncvc", path="workflow/Snakefile", tag="v1")'
    rules = SNAKEFILE.format(checkout="", prefix="").replace('"/workflow/Snakefile"', source)
    (tmp_path / "Snakefile").write_text(rules)
    smoke = ("--configfile", str(PROJECT_ROOT / "config/smoke.yaml"))
    assert jobs(snakemake(tmp_path, "-n", *smoke, **hub).stdout)["aligncvc_sample"] == 6
    mark = checkpoint_mark("lite0")
    snakemake(tmp_path, mark, "--cores", "1", *smoke, **hub)
    assert (tmp_path / mark).is_file()


def test_rules_alone_without_the_package_say_what_is_missing(tmp_path: Path, hub: dict[str, str]) -> None:
    (tmp_path / "empty/aligncvc").mkdir(parents=True)
    (tmp_path / "empty/aligncvc/__init__.py").touch()
    source = 'github("someone/aligncvc", path="workflow/Snakefile", tag="v1")'
    rules = SNAKEFILE.format(checkout="", prefix="").replace('"/workflow/Snakefile"', source)
    (tmp_path / "Snakefile").write_text(rules)
    smoke = ("--configfile", str(PROJECT_ROOT / "config/smoke.yaml"))
    said = snakemake(tmp_path, "-n", *smoke, check=False, **hub | {"PYTHONPATH": str(tmp_path / "empty")})
    assert said.returncode and "clone the repository, run `make env` in it" in said.stdout


@pytest.mark.skipif(find_spec("snakedeploy") is None, reason="snakedeploy is not installed (pip install)")
def test_snakedeploy_makes_a_folder_that_plans_the_demo(tmp_path: Path, hub: dict[str, str]) -> None:
    where = find_spec("snakedeploy")
    assert where is not None and where.origin is not None
    words = ("deploy-workflow", "https://github.com/someone/aligncvc", str(tmp_path), "--tag", "v1")
    path = os.pathsep.join([hub["PYTHONPATH"], str(Path(where.origin).parents[1])])
    call = (sys.executable, "-c", "from snakedeploy.client import main; main()", *words)
    subprocess.run(call, check=True, env=os.environ | hub | {"PYTHONPATH": path})
    assert 'github("someone/aligncvc"' in (tmp_path / "workflow/Snakefile").read_text()
    assert jobs(snakemake(tmp_path, "-n", **hub).stdout) == jobs(snakemake(PROJECT_ROOT, "-n", "-F").stdout)
