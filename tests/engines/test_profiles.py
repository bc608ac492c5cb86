"""The profiles of engines: what they group, leave local and pin, and what the plan through them is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from plugins import require
from workflow_copy import jobs, snakemake

from aligncvc.files import PROJECT_ROOT

ENGINES = ("slurm", "cluster-generic", "kubernetes")
SMOKE = ("--configfile", "config/smoke.yaml")
SECONDS_LONG_MIN = 10
"""A rule that asks for no more minutes than this takes seconds."""


def text_of(name: str) -> str:
    return (PROJECT_ROOT / f"profiles/{name}/profile.yaml").read_text()


def local_rules() -> set[str]:
    snakefile = (PROJECT_ROOT / "workflow/Snakefile").read_text()
    return set(re.findall(r"\w+", snakefile.partition("localrules:")[2].partition("report:")[0]))


def rules() -> dict[str, str]:
    """The text of each rule, whether a configuration uses it or not."""
    text = "\n".join(path.read_text() for path in (PROJECT_ROOT / "workflow/rules").glob("*.smk"))
    return dict(re.findall(r"^rule (\w+):\n((?:[ \t]+.*\n|\n)+)", text, re.MULTILINE))


def own_jobs(plan: str) -> tuple[dict[str, int], list[tuple[str, list[str]]]]:
    """Of a dry run: minutes of each rule that is a job of its own, and (name, rules) of each group."""
    alone, groups = dict[str, int](), list[tuple[str, list[str]]]()
    rule = ""
    for line in plan.splitlines():
        if found := re.search(r"Group job (\w+) ", line):
            groups.append((found[1], []))
        elif found := re.match(r"( *)rule (\w+):$", line):
            rule = "" if found[1] else found[2]
            if found[1]:
                groups[-1][1].append(found[2])
        elif rule and (found := re.search(r" resources: .*runtime=(\d+)", line)):
            alone[rule] = int(found[1])
    return alone, groups


@pytest.mark.parametrize("name", ENGINES)
def test_profiles_group_and_pin(name: str) -> None:
    """Groups name rules that exist and are not local; retries leave room for more memory; pins are exact."""
    profile = yaml.safe_load(text_of(name))
    known = rules()
    assert profile["groups"].keys() <= known.keys() and profile["set-threads"].keys() <= known.keys()
    assert set(profile["groups"].values()) == profile["group-components"].keys()
    assert not profile["groups"].keys() & local_rules()
    assert profile["retries"] >= 1
    assert not any(re.search(r"mem_mb=\d", text) for text in known.values()), "a retry would ask for no more"
    told = re.search(r"pip install -c envs/(constraints-engines\.txt) ((?:.*\\\n)*.*)", text_of(name))
    assert told
    plugins = re.findall(r"snakemake-[\w-]+", told[2])
    pins = (PROJECT_ROOT / "envs" / told[1]).read_text()
    assert f"snakemake-executor-plugin-{name}" in plugins
    assert all(re.search(rf"^{plugin}==[\d.]+$", pins, re.MULTILINE) for plugin in plugins)


def test_profiles_are_of_one_mind() -> None:
    """What does not depend on the engine is the same for all."""
    first, *others = (yaml.safe_load(text_of(name)) for name in ENGINES)
    for key in ("groups", "group-components", "set-threads", "rerun-triggers", "retries", "jobs"):
        assert all(other[key] == first[key] for other in others), key


def test_no_rule_of_seconds_waits_alone_in_a_queue() -> None:
    """Also of those that the smoke configuration does not use."""
    cared_for = local_rules() | yaml.safe_load(text_of("slurm"))["groups"].keys()
    minutes = {name: re.search(r"runtime=(\d+)", text) for name, text in rules().items()}
    short = {name for name, found in minutes.items() if found and int(found[1]) <= SECONDS_LONG_MIN}
    assert short == {"checkpoints", "discrimination", "table", "costs", "reported"}
    assert short <= cared_for


def test_the_plan_leaves_seconds_here_and_groups_the_small(checkout: Path) -> None:
    """A dry run through the profile; it needs no plugin, and only reads the groups."""
    profile = ("--workflow-profile", "profiles/slurm", "--executor", "dryrun")
    alone, groups = own_jobs(snakemake(checkout, "-n", *profile, *SMOKE).stdout)
    queued = alone.keys() - local_rules()
    assert queued == {"renders", "align", "control", "sample"}
    assert all(alone[name] > SECONDS_LONG_MIN for name in queued)
    found = sorted((name, sorted(set(members)), len(members)) for name, members in groups)
    assert found == [
        ("fetch", ["checkpoints", "objects"], 5),
        ("page", ["figures", "report"], 2),
        ("score", ["evaluate"], 2),
        ("score", ["evaluate"], 4),
        ("score", ["evaluate"], 4),
    ]


def test_where_the_front_node_forbids_work(checkout: Path) -> None:
    """As docs/scale.md says: with a group, local rules go to the queue too, all in one allocation."""
    told = (PROJECT_ROOT / "docs/scale.md").read_text().partition("profiles/slurm --groups ")[2]
    groups_told = told.partition("\n\n")[0].replace("\\\n", " ").split()
    command = ("--workflow-profile", "profiles/slurm", "--executor", "dryrun", "--groups", *groups_told)
    alone, groups = own_jobs(snakemake(checkout, "-n", *command, *SMOKE).stdout)
    assert not alone.keys() & (local_rules() - {"all"})
    page = [members for name, members in groups if name == "page"]
    assert len(page) == 1 and set(page[0]) == {*local_rules() - {"all"}, "figures", "report"}


def test_a_plan_for_kubernetes(checkout: Path, tmp_path: Path) -> None:
    """No shared disk: inputs come from the store, outputs go there, settings are written where the job is."""
    require("executor", "kubernetes")
    require("storage", "fs")
    copies = tmp_path / "copies"
    store = ("--default-storage-prefix", str(checkout), "--local-storage-prefix", str(copies))
    command = ("--workflow-profile", "profiles/kubernetes", *store)
    plugins = os.environ.get("PYTHONPATH", "")  # they may lie in a folder that it names
    planned = snakemake(checkout, "-n", "-p", *command, *SMOKE, PYTHONPATH=plugins).stdout
    assert jobs(planned) == jobs(snakemake(checkout, "-n", *SMOKE).stdout)
    assert f"input: {checkout}/config/objects/bundled.tsv (retrieve from storage)" in planned
    assert f"output: {checkout}/results/objects/train/manifest.tsv (send to storage)" in planned
    settings = re.findall(r"--settings (\S+)", planned)
    assert settings and all((checkout / path).is_file() for path in settings)
    assert all(path.startswith("results/settings/") for path in settings)
    # Views lie beside their manifest and are not declared: the copy of one job is that of the next.
    manifest = f"{copies}/fs{checkout}/results/renders/eval/manifest.tsv"
    assert f"--renders {manifest}" in planned and f"--out {Path(manifest).parent} " in planned


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
