"""The smoke configuration on a real one-node Slurm, through its own plugin and through cluster-generic."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from one_node_slurm import missing

from aligncvc.files import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT / "tests/workflow"))

from workflow_copy import copy_checkout

SETS = [f"results/objects/{name}/manifest.tsv" for name in ("train", "eval")]
KILLED_ONCE = "objects:mem_mb=100 if attempt == 1 else 3000"
"""Less than Python needs, then enough."""
ASK = "sacct -X --parsable2 --noheader --format=JobIdRaw,State,ReqMem; cat $(dirname $SLURM_CONF)/devices"


def require(plugin: str) -> None:
    if importlib.util.find_spec(f"snakemake_executor_plugin_{plugin}") is None:
        pytest.skip(f"snakemake's plugin {plugin} is not installed (docs/scale.md)")


def in_slurm(folder: Path, *arguments: str) -> tuple[list[list[str]], list[list[str]], str]:
    """Run snakemake in a Slurm of its own: [job, state, memory] of its jobs, [job, device], the output."""
    if fault := missing():
        pytest.skip(f"Slurm cannot start here: {fault}")
    asked = [sys.executable, "-m", "snakemake", "--configfile", "config/smoke.yaml", "--latency-wait", "5"]
    script = f'"$@" || echo FAILED; echo =====; {ASK}'
    slurm = [sys.executable, str(Path(__file__).with_name("one_node_slurm.py"))]
    command = [*slurm, "bash", "-c", script, "bash", *asked, *arguments, "--", *SETS]
    found = subprocess.run(
        command, cwd=folder, text=True, timeout=3000, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert "=====" in found.stdout, found.stdout[-2000:]
    output, _, facts = found.stdout.partition("=====\n")
    assert "FAILED" not in output.splitlines(), output[-3000:]
    lines = facts.splitlines()
    states = [line.split("|") for line in lines if "|" in line]
    return states, [line.split() for line in lines if "|" not in line], output


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("engines") / "checkout")


@pytest.mark.engine
def test_slurm(checkout: Path) -> None:
    """Each job is killed for its memory and asks for more; each is told a GPU of its own."""
    require("slurm")
    states, devices, _ = in_slurm(
        checkout,
        *("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "5"),
        *("--group-components", "fetch=1", "--set-resources", KILLED_ONCE, "objects:gpu=1"),
    )
    memory = {"COMPLETED": "3000M", "FAILED": "100M", "OUT_OF_MEMORY": "100M", "CANCELLED": "100M"}
    assert [state for _, state, _ in states].count("COMPLETED") == 2 and len(states) == 4
    assert all(asked == memory[state] for _, state, asked in states)
    completed = {job for job, state, _ in states if state == "COMPLETED"}
    told = {job: device for job, device in devices if job in completed}
    assert told.keys() == completed and set(told.values()) <= {"0", "1"}
    assert all((checkout / path).is_file() for path in SETS)


@pytest.mark.engine
def test_any_scheduler(checkout: Path) -> None:
    """Both sets in one allocation, killed once: snakemake hears of it from the scheduler."""
    require("cluster_generic")
    for path in SETS:
        (checkout / path).unlink(missing_ok=True)
    states, _, _ = in_slurm(
        checkout, "--workflow-profile", "profiles/cluster-generic", "--set-resources", KILLED_ONCE
    )
    assert [state for _, state, _ in states].count("COMPLETED") == 1 and len(states) == 2
    assert all((checkout / path).is_file() for path in SETS)


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_profiles_group_and_pin(name: str) -> None:
    """Groups name rules that exist and are not local; retries leave room for more memory; pins are exact."""
    text = (PROJECT_ROOT / f"profiles/{name}/profile.yaml").read_text()
    profile = yaml.safe_load(text)
    rules = "\n".join(path.read_text() for path in (PROJECT_ROOT / "workflow").rglob("*.smk"))
    known = set(re.findall(r"^rule (\w+):", rules, re.MULTILINE))
    assert profile["groups"].keys() <= known and profile["set-threads"].keys() <= known
    assert set(profile["groups"].values()) == profile["group-components"].keys()
    local = (
        (PROJECT_ROOT / "workflow/Snakefile").read_text().partition("localrules:")[2].partition("report:")[0]
    )
    assert not profile["groups"].keys() & set(re.findall(r"\w+", local))
    assert profile["retries"] >= 1 and "growing(" in rules
    assert re.search(rf"snakemake-executor-plugin-{name}==\d+\.\d+\.\d+$", text, re.MULTILINE)
    assert not re.search(r"mem_mb=\d", rules), "a killed job would ask for as much again"


@pytest.mark.parametrize(
    ("answer", "said"),
    [("COMPLETED", "success"), ("RUNNING", "running"), ("", "running"), ("OUT_OF_MEMORY", "failed"),
     ("CANCELLED by 0", "failed"), ("TIMEOUT", "failed"), ("PENDING", "running")],
)  # fmt: skip
def test_what_snakemake_is_told_of_a_job(answer: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "sacct").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "sacct").chmod(0o755)
    status = ["sh", str(PROJECT_ROOT / "profiles/cluster-generic/status.sh"), "7"]
    found = subprocess.run(status, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True)
    assert found.stdout == f"{said}\n"
