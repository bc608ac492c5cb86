"""Thousands of objects, a tenth of them broken, through the workflow: `python tests/scale/rehearsal.py`.

A server on this machine in Objaverse's place, a stand-in in Blender's; the rest is the project. The set is
made once, then asked for again, then made once more while everything is killed at random moments. What is
printed is JSON; the exit status is 1 if something does not hold. docs/scale.md has one rehearsal's numbers.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import yaml

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("scale", "objects", "workflow")]
from object_server import Loopback, Site  # noqa: E402
from synthetic_hub import BROKEN, PATIENCE, fault_of, make_hub, uid  # noqa: E402
from workflow_copy import copy_checkout  # noqa: E402

from aligncvc.tsv import read_tsv  # noqa: E402

SET = "results/renders/train"


@dataclass
class Args:
    """How large, and how often disturbed."""

    objects: int = 2000
    shard_size: int = 100
    kills: int = 5
    seed: int = 0
    """of the moments at which everything is killed"""


def prepare(folder: Path, site: Site, args: Args) -> Path:
    """A copy of the checkout that renders by the stand-in, and its configuration."""
    checkout = copy_checkout(folder / "checkout")
    render = checkout / "src/aligncvc/render"
    shutil.copy(TESTS / "scale/scene_stand_in.py", render)
    workers = (render / "workers.py").read_text()
    assert "aligncvc.render.blender_scene" in workers
    (render / "workers.py").write_text(workers.replace("render.blender_scene", "render.scene_stand_in"))
    train = {"source": "objaverse", "list": str(folder / "list.tsv"), "path": site.url}
    settings = {
        "objects": {"shard_size": args.shard_size, **PATIENCE, "sets": {"train": train, "eval": {}}},
        "render": {"ring_views": 4},
        "pretrain": {"sets": ["train"]},
    }
    (checkout / "mine.yaml").write_text(yaml.safe_dump(settings))
    return checkout


def start(checkout: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", f"{SET}/manifest.tsv", "--configfile", "mine.yaml"]
    variables = os.environ | {"no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    variables.pop("PYTHONPATH", None)
    return subprocess.Popen(
        [*command, "--nolock", "--cores", "2"], cwd=checkout, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the workflow failed:\n{said[-3000:]}")
    return said


def handed_on(checkout: Path) -> dict[str, bytes]:
    found = (path for path in (checkout / SET).rglob("*") if path.is_file() and path.name != ".aligncvc")
    return {str(path.relative_to(checkout)): path.read_bytes() for path in found}


def failures(checkout: Path, args: Args) -> dict[str, int]:
    """Failed objects by what is wrong with them; every one must say so, and no other be there."""
    counts: Counter[str] = Counter()
    faults = {uid(n): fault for n in range(args.objects) if (fault := fault_of(n))}
    for row in read_tsv(checkout / SET / "failures.tsv", ("id", "reason"), ""):
        fault = faults.pop(row["id"])
        counts[fault if BROKEN[fault] in row["reason"] else f"another reason: {row['reason']}"] += 1
    if faults:
        counts["not listed"] = len(faults)
    return dict(counts)


def main(args: Args) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="aligncvc-rehearsal-") as name:
        folder = Path(name)
        with Loopback(make_hub(args.objects, folder / "list.tsv")) as site:
            checkout = prepare(folder, site, args)
            began = time.monotonic()
            finish(start(checkout))
            seconds = time.monotonic() - began
            reference, requests = handed_on(checkout), len(site.log)
            rows = read_tsv(checkout / SET / "manifest.tsv", ("objects", "ok"), "")
            found: dict[str, Any] = {
                "objects": sum(int(row["objects"]) for row in rows),
                "ok": sum(int(row["ok"]) for row in rows),
                "failed": failures(checkout, args),
                "shards": len(rows),
                "bytes": sum(map(len, reference.values())),
                "requests": requests,
                "seconds": round(seconds, 1),
            }
            print(json.dumps(found), flush=True)
            found["second_run"] = "Nothing to be done" in finish(start(checkout))
            found["second_run_requests"] = len(site.log) - requests
            print(json.dumps(found), flush=True)
            shutil.rmtree(checkout / "results")
            moments = random.Random(args.seed)
            found["killed_after"] = []
            for _ in range(args.kills):
                process = start(checkout)
                wait = moments.uniform(0.02, 0.25) * seconds
                try:
                    process.communicate(timeout=wait)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    done = len(list((checkout / SET).glob("shards/*/index.tsv")))
                    found["killed_after"].append([round(wait, 1), done])
            finish(start(checkout))
            again = handed_on(checkout)
            found["same_bytes"] = again == reference
            found["differ"] = sorted(k for k in again.keys() | reference if again.get(k) != reference.get(k))
            found["requests_with_kills"] = len(site.log) - requests
    return found


if __name__ == "__main__":
    arguments = tyro.cli(Args)
    result = main(arguments)
    print(json.dumps(result, indent=1))
    whole = result["objects"] == arguments.objects == result["ok"] + sum(result["failed"].values())
    known = set(result["failed"]) <= set(BROKEN)
    again = result["second_run"] and result["second_run_requests"] == 0 and result["same_bytes"]
    raise SystemExit(not (whole and known and again))
