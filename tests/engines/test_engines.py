"""Jobs of the smoke configuration on a real one-node Slurm, by its own plugin and by cluster-generic.

They are the smallest, the two of `objects`: docs/scale.md says what the whole of it did.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from one_node_slurm import missing
from plugins import require

SETS = [f"results/objects/{name}/manifest.tsv" for name in ("train", "eval")]
KILLED_ONCE = "objects:mem_mb=100 if attempt == 1 else 3000"
"""Less than Python needs, then enough."""
ASK = (
    "sacct -X --starttime now-1days --parsable2 --noheader --format=JobIdRaw,State,ReqMem;"
    " cat $(dirname $SLURM_CONF)/devices"
)
"""From yesterday on: what began before midnight would be left out otherwise."""


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
    output, marker, facts = found.stdout.partition("\n=====\n")  # snakemake's own lines of these are longer
    assert marker, found.stdout[-2000:]
    assert "FAILED" not in output.splitlines(), output[-3000:]
    lines = facts.splitlines()
    states = [line.split("|") for line in lines if "|" in line]
    return states, [line.split() for line in lines if "|" not in line], output


@pytest.mark.engine
def test_slurm(checkout: Path) -> None:
    """Each job is killed for its memory and asks for more; each is told a GPU of its own."""
    require("executor", "slurm")
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
    require("executor", "cluster_generic")
    for path in SETS:
        (checkout / path).unlink(missing_ok=True)
    states, _, _ = in_slurm(
        checkout, "--workflow-profile", "profiles/cluster-generic", "--set-resources", KILLED_ONCE
    )
    assert [state for _, state, _ in states].count("COMPLETED") == 1 and len(states) == 2
    assert all((checkout / path).is_file() for path in SETS)
