"""A real `accelerate launch` of two processes on the CPU: the numbers of one, kills, and shared networks."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from tiny_world import align_job
from torch import Tensor

from aligncvc.align.train import train
from aligncvc.files import PROJECT_ROOT
from aligncvc.models.pair import attach_lora, load_pretrained
from aligncvc.unfinished import PREFIX

pytestmark = pytest.mark.slow

EVERYTHING: dict[str, Any] = {
    "steps": 5,
    "save_every": 2,
    "unrolled": "stratified",
    "alpha_weight": 1.0,
    "foreground_weight": 1.0,
    "gan": {"hidden": 8, "r1": 0.1},
    "gradient_checkpointing": True,
}
"""All losses with all that is in them; the demo's optimiser."""
PLAIN = ("--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
SHARED = ("--config_file", str(PROJECT_ROOT / "profiles/accelerate/fsdp.yaml"), "--fsdp_min_num_params", "50")
WEIGHTS = ("student", "recon")
LOSSES = ("loss_soft", "loss_g", "loss_recon", "loss_alpha", "loss_d")


class Launched:
    """Two processes of one object each that train in `out`, and the launcher that started them."""

    def __init__(self, renders: Path, out: Path, how: tuple[str, ...] = PLAIN, **more: Any) -> None:
        self.out = out
        settings = out.with_suffix(".json")
        align_job(batch=1, **EVERYTHING | more).write(settings)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [sys.executable, "-m", "accelerate.commands.launch", *how, "--num_processes", "2",
                   "--main_process_port", port, "-m", "aligncvc.align", "--settings", str(settings),
                   "--renders", str(renders), "--out", str(out), "--code", "f"]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "src"), "OMP_NUM_THREADS": "1"}
        self.errors = out.with_suffix(".log")
        with self.errors.open("ab") as log:
            self.launcher = subprocess.Popen(command, env=environment, stderr=log, cwd=out.parent)

    def finished(self) -> str:
        """Standard error of all, after a good end."""
        assert self.launcher.wait(1200) == 0, self.said
        return self.said

    @property
    def said(self) -> str:
        return self.errors.read_text()

    def stop(self, steps: int, number: int, *, everyone: bool) -> None:
        """Signal the launcher, or its processes too, when so many steps are logged; await all."""
        log = self.out / "state/metrics.jsonl"
        while not (log.exists() and len(log.read_text().splitlines()) >= steps):
            assert self.launcher.poll() is None, self.said
            time.sleep(0.05)
        workers = psutil.Process(self.launcher.pid).children(recursive=True)
        assert len(workers) == 2
        for process in workers if everyone else ():
            process.send_signal(number)
        self.launcher.send_signal(number)
        assert self.launcher.wait(120) != 0
        _, alive = psutil.wait_procs(workers, timeout=120)
        assert not alive


def metrics(out: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(record.pop("seconds") > 0 for record in records)
    return records


@pytest.fixture(scope="module")
def one(renders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process of two objects, straight."""
    out = tmp_path_factory.mktemp("one") / "run"
    train(align_job(batch=2, **EVERYTHING), renders, out)
    return out


@pytest.fixture(scope="module")
def two(renders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes of one object, straight."""
    out = tmp_path_factory.mktemp("two") / "run"
    Launched(renders, out).finished()
    return out


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([state[name].detach().flatten() for name in sorted(state)])


def apart(one: Path, other: Path) -> dict[str, float]:
    """Distance of two runs' weights over the way that the first came from the start, for each network."""
    job = align_job()
    pair = load_pretrained(job.pair)
    lora = attach_lora(pair.generator, job.training.lora_rank, job.seed)
    begun = {"student": flat(dict(lora)), "recon": flat(pair.reconstructor.state_dict())}
    found = {}
    for name in WEIGHTS:
        ends = [flat(load_file(out / f"{name}.safetensors")) for out in (one, other)]
        found[name] = float((ends[0] - ends[1]).norm() / (ends[0] - begun[name]).norm())
    return found


def close(one: Path, other: Path, rounding: float) -> None:
    """The same steps. Adam divides by the gradient's own size: rounding is small before its first step only.

    ReLU6 in the discriminator's encoder has kinks, where rounding of the images becomes 1e-3 of the gradient.
    """
    for step, (a, b) in enumerate(zip(metrics(one), metrics(other), strict=True)):
        assert (a["k"], a["step"], a["lr_factor"]) == (b["k"], b["step"], b["lr_factor"])
        for name in LOSSES:
            assert b[name] == pytest.approx(a[name], rel=1e-3 if step else rounding), (step, name)
        for name in ("sharpness", "saturation", "residual_psnr", "gt_psnr"):
            assert b[name] == pytest.approx(a[name], rel=1e-3), (step, name)
        for name in ("grad_student", "grad_recon", "grad_d"):
            assert b[name] == pytest.approx(a[name], rel=3e-2), (step, name)


def test_two_processes_train_as_one_of_twice_the_batch(one: Path, two: Path) -> None:
    close(one, two, 1e-5)
    found = apart(one, two)
    assert found["student"] < 0.05 and found["recon"] < 0.03, found


def test_killed_runs_go_on_to_the_same_bytes(renders: Path, two: Path, tmp_path: Path) -> None:
    """SIGTERM to the launcher, SIGKILL to the launcher alone, SIGKILL to all three."""
    out = tmp_path / "run"
    Launched(renders, out).stop(2, signal.SIGTERM, everyone=False)
    run = Launched(renders, out)
    run.stop(3, signal.SIGKILL, everyone=False)  # its processes end with it
    assert "stopped by a signal" in run.said
    Launched(renders, out).stop(4, signal.SIGKILL, everyone=True)
    assert not (out / "student.safetensors").exists()
    said = Launched(renders, out).finished()
    assert "ignored" not in said and "starting from step 0" not in said
    assert metrics(out) == metrics(two)
    for name in WEIGHTS:
        assert (out / f"{name}.safetensors").read_bytes() == (two / f"{name}.safetensors").read_bytes()
    assert not (out / "state").exists() and not list(out.rglob(f"{PREFIX}*"))


def test_processes_that_share_networks_train_as_those_that_do_not(
    renders: Path, two: Path, tmp_path: Path
) -> None:
    """Killed and gone on with, so that averages, optimisers and weights go through the file and back."""
    out, straight = tmp_path / "run", tmp_path / "straight"
    said = Launched(renders, straight, SHARED).finished()
    percent = re.search(r"2 processes share ([\d.]+)% of the networks", said)
    assert percent is not None and float(percent[1]) > 95
    Launched(renders, out, SHARED).stop(3, signal.SIGKILL, everyone=True)
    state = torch.load(out / "state/state.pt", weights_only=True)
    shapes = {name: value.shape for name, value in state["parts"]["recon"].items()}
    assert shapes == {n: v.shape for n, v in load_file(two / "recon.safetensors").items()}
    Launched(renders, out, SHARED).finished()
    assert metrics(out) == metrics(straight)
    for name in WEIGHTS:
        assert (out / f"{name}.safetensors").read_bytes() == (straight / f"{name}.safetensors").read_bytes()
    close(two, straight, 1e-6)
    found = apart(two, straight)
    assert found["student"] < 0.05 and found["recon"] < 0.02, found


def test_processes_train_one_fake_score_whether_they_share_it_or_not(renders: Path, tmp_path: Path) -> None:
    asd, out = {"mode": "fake_score", "fake": {"rank": 2, "updates": 2}}, tmp_path / "shared"
    Launched(renders, tmp_path / "one", asd=asd, steps=4).finished()
    Launched(renders, out, SHARED, asd=asd, steps=4).stop(3, signal.SIGKILL, everyone=True)
    parts = torch.load(out / "state/state.pt", weights_only=True)["parts"]
    rows = {value.shape[0] for name, value in parts["fake"].items() if "lora_A" in name}
    assert rows == {2} and any(bool(v.any()) for n, v in parts["fake"].items() if "lora_B" in n)
    Launched(renders, out, SHARED, asd=asd, steps=4).finished()
    for step, (a, b) in enumerate(zip(metrics(tmp_path / "one"), metrics(out), strict=True)):
        assert b["loss_fake"] == pytest.approx(a["loss_fake"], rel=1e-3)
        # of what two updates make of rounding, where Adam divides by the gradient's own size
        for name in ("grad_fake", "loss_soft", "grad_student"):
            assert a[name] > 0 and b[name] == pytest.approx(a[name], rel=3e-2), (step, name)


def test_a_launcher_that_starts_one_of_two_is_refused(renders: Path, tmp_path: Path) -> None:
    alone = ("--cpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    run = Launched(renders, tmp_path / "run", alone)
    assert run.launcher.wait(300) != 0
    assert run.said.count("error: ") == 1 and "give --multi_gpu in its place" in run.said
    assert not (tmp_path / "run").exists()
