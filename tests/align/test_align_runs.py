"""Kinds of alignment runs: the foil, the control of the released code, runs that ship with their weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_world import FOIL, PAIR, align_job, tiny_plan, tiny_settings, write_protocol

from aligncvc.align.batches import draw_batch
from aligncvc.align.train import train
from aligncvc.align.trainer import Trainer
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.loop.unroll import Sampled
from aligncvc.models.ledger.ledger import DEFAULT_LEDGER
from aligncvc.sample.sets import pair_for, sample_one
from aligncvc.scene.renderset import RenderSet
from aligncvc.workflow.jobs import JobTable

METHODS = {
    "m": {"steps": 2},
    "soft": {"steps": 2, "run": "soft"},
    "released": {"steps": 2, "run": "released"},
}


def plan_of(**settings: Any) -> Plan:
    """The tiny pair, a method for some of its runs."""
    return tiny_plan({**tiny_settings(**settings), "sample": {"methods": METHODS}})


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def sampled(job: SampleJob, aligned: Path | None, renders: Path) -> Sampled:
    images, cameras = RenderSet(renders, 32).load("a").rig_from(0)
    return sample_one(pair_for(job, aligned), job, images[0], cameras, 0, "a")[0]


def test_regression_has_only_losses_to_ground_truth_of_views_and_renderings(renders: Path) -> None:
    job = align_job("foil", lambda_recon=2.0)
    trainer = Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True))
    assert trainer.discriminator is None
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition, latents, look = trainer.roll_out(batch, 2)
    losses, facts = trainer.losses(batch, condition, latents, look, 0)
    assert losses.keys() == {"recon", "views"} and facts == {}
    error = (look.views - batch.views).square().mean()
    assert float(losses["views"].detach()) > 2 * float(error.detach())  # and LPIPS on top
    recon = list(trainer.recon_parameters.values())
    student = list(trainer.lora.values())
    of_views = torch.autograd.grad(losses["views"], [*student, *recon], retain_graph=True, allow_unused=True)
    assert any(g is not None and float(g.abs().sum()) > 0 for g in of_views[: len(student)])
    assert all(g is None for g in of_views[len(student) :])
    of_renderings = torch.autograd.grad(losses["recon"], [*student, *recon])
    for gradients in (of_renderings[: len(student)], of_renderings[len(student) :]):
        assert any(float(g.abs().sum()) > 0 for g in gradients)


def test_asd_as_released_leaves_sampling_as_it_was_to_the_bit(renders: Path, tmp_path: Path) -> None:
    """The control: dt = 0 and guidance on both terms is no alignment, whatever the rate."""
    plan = plan_of(steps=3, lr_student=0.1, lambda_soft=10.0)
    for run in ("released", "soft"):
        train(plan.align(PAIR, run), renders, tmp_path / run)
    assert all(r["grad_student"] == 0 for r in metrics(tmp_path / "released"))
    weights = load_file(tmp_path / "released/student.safetensors")
    assert all(float(v.abs().max()) == 0 for k, v in weights.items() if "lora_B" in k)
    plain, control, moved = (
        sampled(plan.sample(PAIR, method), tmp_path / method, renders) for method in ("m", "released", "soft")
    )
    assert torch.equal(plain.views, control.views) and torch.equal(plain.renderings, control.renderings)
    assert not torch.equal(plain.views, moved.views)


def test_a_run_may_have_its_own_number_of_steps(renders: Path, tmp_path: Path) -> None:
    train(align_job("longer", steps=1, runs={"longer": {"steps": 3, **FOIL}}), renders, tmp_path / "longer")
    assert len(metrics(tmp_path / "longer")) == 3
    facts = json.loads((tmp_path / "longer/student.safetensors.provenance.json").read_text())
    assert (facts["steps"], facts["pair"], facts["run"]) == (3, PAIR, "longer")


READY = {"student": "my-student", "recon": "my-recon"}


def write_ledger(path: Path, folder: Path, **changes: str) -> str:
    """The project's ledger and, as READY names them, a run's weights; returns its path."""
    data = yaml.safe_load(DEFAULT_LEDGER.read_text())
    for part, name in READY.items():
        file = folder / f"{part}.safetensors"
        entry = {"what": "w", "source": f"file:{file}", "sha256": sha256_file(file), "licence": "MIT"}
        data["checkpoints"][name] = entry | changes
    path.write_text(yaml.safe_dump(data))
    return str(path)


def with_ready_run(**checkpoints: str) -> dict[str, Any]:
    """The tiny pair, whose run `ready` has the losses of its run `soft` and ships with its weights."""
    runs = {"soft": {"hard": False}, "both": {}, "ready": {"hard": False}}
    data = tiny_settings(steps=2, runs=runs, pair={"aligned": {"ready": READY}})
    methods = {"a": {"run": "both"}, "b": {"run": "ready"}, "c": {}}
    return {**data, "sample": {"methods": methods}, "checkpoints": checkpoints}


@pytest.fixture(scope="module")
def soft(renders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two steps of soft alignment."""
    folder = tmp_path_factory.mktemp("soft")
    train(align_job("soft", steps=2), renders, folder)
    return folder


def test_bundled_weights_come_from_the_ledger_and_are_checked(soft: Path, tmp_path: Path) -> None:
    def ready(name: str, **changes: str) -> SampleJob:
        ledger = write_ledger(tmp_path / name, soft, **changes)
        return tiny_plan(with_ready_run(ledger=ledger)).sample(PAIR, "b")

    job = ready("ledger.yaml")
    trained = pair_for(job.model_copy(update={"aligned": None}), soft).generator
    bundled = pair_for(job, tmp_path / "nowhere").generator
    pairs = zip(trained.denoiser.parameters(), bundled.denoiser.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert job.weights["my-student"] == sha256_file(soft / "student.safetensors")
    with pytest.raises(UserError, match="is not checkpoint my-student: expected sha256 0000"):
        pair_for(ready("wrong.yaml", sha256="0" * 64))


def test_bundled_run_is_not_trained_and_says_which_run_repeats_it() -> None:
    with pytest.raises(UserError, match=r"ship with the repository \(my-student, my-recon\).*train run soft"):
        tiny_plan(with_ready_run()).align(PAIR, "ready")


def test_tables_call_each_kind_of_run_by_its_name() -> None:
    names = {name: align_job(name).losses.alignment for name in ("soft", "hard", "both", "foil", "released")}
    assert list(names.values()) == ["soft", "hard", "both", "regression", "official"]


def test_plan_neither_trains_nor_awaits_bundled_runs_and_verifies_their_weights(
    soft: Path, tmp_path: Path
) -> None:
    protocol = write_protocol(tmp_path / "protocol.yaml")
    ledger = write_ledger(tmp_path / "ledger.yaml", soft)
    data = with_ready_run(ledger=ledger) | {"evaluate": {"protocol": protocol}}
    table = JobTable(data, "test")
    assert table.plan.trained_runs == [(PAIR, "both")]

    def awaited(method: str) -> list[str]:
        return table.aligned(SimpleNamespace(pair=PAIR, method=method))

    assert awaited("a") == [f"results/align/{PAIR}/both/{p}.safetensors" for p in ("student", "recon")]
    assert awaited("b") == awaited("c") == []
    assert set(READY.values()) <= set(table.plan.weights)
    unused = JobTable({**data, "sample": {"methods": {"a": {"run": "both"}}}}, "test")
    assert "my-student" not in unused.plan.weights


@pytest.mark.parametrize(
    "other", [{"generator": {"unet": {"head_channels": 4}}}, {"reconstructor": {"heads": 4}}]
)
def test_results_say_what_their_shapes_do_not(soft: Path, other: dict[str, Any]) -> None:
    """Another number of attention heads has the same shapes and computes something else."""
    with pytest.raises(UserError, match=r"whose (unet|heads) is .* and the pair's says .*4"):
        pair_for(plan_of(**other).sample(PAIR, "soft"), soft)
