"""Kinds of alignment runs: the foil, the control of the released code, runs that ship with their weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_world import (
    FOIL,
    PAIR,
    RUNS,
    align_job,
    sample_job,
    tiny_pair,
    tiny_plan,
    tiny_settings,
    write_ledger,
    write_protocol,
)

from aligncvc.align.batches import draw_batch
from aligncvc.align.train import train
from aligncvc.align.trainer import Trainer
from aligncvc.errors import UserError
from aligncvc.loop.unroll import Sampled
from aligncvc.models.ledger.weights import NETWORK, read_facts
from aligncvc.models.pair import Aligned, load_pair
from aligncvc.models.specs import CheckpointAccess
from aligncvc.paper.table_rows import ALIGNMENTS
from aligncvc.sample.sets import sample_one
from aligncvc.scene.renderset import RenderSet
from aligncvc.workflow.jobs import JobTable


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def sampled(folder: Path | None, renders: Path) -> Sampled:
    job = sample_job(steps=2)
    pair = load_pair(job.pair, aligned=None if folder is None else Aligned.in_folder(folder))
    images, cameras = RenderSet(renders, 32).load("a").rig_from(0)
    return sample_one(pair, job, images[0], cameras, 0, "a")[0]


def test_regression_has_only_losses_to_ground_truth_of_views_and_renderings(renders: Path) -> None:
    trainer = Trainer(align_job("foil", lambda_recon=2.0), RenderSet(renders, 32), Accelerator(cpu=True))
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
    for run in ("released", "soft"):
        train(align_job(run, steps=3, lr_student=0.1, lambda_soft=10.0), renders, tmp_path / run)
    assert all(r["grad_student"] == 0 for r in metrics(tmp_path / "released"))
    weights = load_file(tmp_path / "released/student.safetensors")
    assert all(float(v.abs().max()) == 0 for k, v in weights.items() if "lora_B" in k)
    folders = (None, tmp_path / "released", tmp_path / "soft")
    plain, control, moved = (sampled(folder, renders) for folder in folders)
    assert torch.equal(plain.views, control.views) and torch.equal(plain.renderings, control.renderings)
    assert not torch.equal(plain.views, moved.views)


def test_a_run_may_have_its_own_number_of_steps(renders: Path, tmp_path: Path) -> None:
    job = align_job("longer", steps=1, runs={"longer": {"steps": 3, **FOIL}})
    train(job, renders, tmp_path / "longer")
    assert len(metrics(tmp_path / "longer")) == 3
    facts = json.loads((tmp_path / "longer/student.safetensors.provenance.json").read_text())
    assert facts["steps"] == 3 and facts["run"] == "longer"


def test_bundled_weights_come_from_the_ledger_and_are_checked(renders: Path, tmp_path: Path) -> None:
    job = align_job("soft", steps=2)
    train(job, renders, tmp_path)

    files = {f"my-{part}": tmp_path / f"{part}.safetensors" for part in ("student", "recon")}
    ledger = CheckpointAccess(ledger=write_ledger(tmp_path / "ledger.yaml", files))
    wrong = CheckpointAccess(ledger=write_ledger(tmp_path / "wrong.yaml", files, sha256="0" * 64))
    trained = load_pair(job.pair, aligned=Aligned.in_folder(tmp_path)).generator
    ids = Aligned("my-student", "my-recon")
    bundled = load_pair(job.pair, ledger, ids).generator
    pairs = zip(trained.parameters(), bundled.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(UserError, match="is not checkpoint my-student: expected sha256 0000"):
        load_pair(job.pair, wrong, ids)


def test_bundled_run_is_not_trained_and_says_which_run_repeats_it() -> None:
    ready = {"aligned": {"ready": {"student": "demo-aligned-student", "recon": "demo-aligned-recon"}}}
    runs = {**RUNS, "ready": {"hard": False}}
    with pytest.raises(UserError, match=r"ship with the repository \(demo-aligned-.*train run soft"):
        align_job("ready", runs=runs, pair=ready)


def test_tables_call_each_kind_of_run_by_its_name() -> None:
    runs = {**RUNS, "dmd": {"hard": False, "asd_mode": "fake_score"}, "dmd_both": {"asd_mode": "fake_score"}}
    runs = tiny_plan(tiny_settings(runs=runs)).config.align.runs
    names = ("soft", "hard", "both", "foil", "released", "dmd", "dmd_both")
    called = ["soft", "hard", "both", "regression", "official", "fake score", "both"]
    assert [runs[n].alignment for n in names] == called and set(called) < set(ALIGNMENTS)


def test_a_run_may_repeat_losses_by_other_chance(renders: Path) -> None:
    runs = {**RUNS, "again": {"hard": False, "seed": 7}}
    soft, again = (align_job(name, runs=runs) for name in ("soft", "again"))
    assert (soft.seed, again.seed) == (0, 7) and soft.losses.losses == again.losses.losses
    assert again.pair.seed == soft.pair.seed, "random weights of the pair itself are not another draw"
    one, other = (
        Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True)).step(0) for job in (soft, again)
    )
    assert one["loss_soft"] != other["loss_soft"]


def test_plan_neither_trains_nor_awaits_bundled_runs_and_verifies_their_weights(tmp_path: Path) -> None:
    ready = {"aligned": {"ready": {"student": "demo-aligned-student", "recon": "demo-aligned-recon"}}}
    data = tiny_settings(runs={"both": {}, "ready": {}}, pair=ready)
    data["evaluate"] = {"protocol": write_protocol(tmp_path / "protocol.yaml")}
    data["sample"] = {"methods": {"a": {"run": "both"}, "b": {"run": "ready"}, "c": {}}}
    table = JobTable(data, "test")
    assert table.plan.trained_runs == [(PAIR, "both")]
    trained, *others = (table.aligned(SimpleNamespace(pair=PAIR, method=method)) for method in "abc")
    assert trained == [f"results/align/{PAIR}/both/{part}.safetensors" for part in ("student", "recon")]
    assert others == [[], []]
    marks = table.checkpoints("sample", "{pair}", "{method}")
    unready, ready_marks = (" ".join(marks({"pair": PAIR, "method": method})) for method in "ab")
    for name in ("demo-aligned-student", "demo-aligned-recon"):
        assert f"/checkpoints/{name}-" in ready_marks and name not in unready


def test_results_say_what_their_shapes_do_not(renders: Path, tmp_path: Path) -> None:
    """Another number of attention heads has the same shapes and computes something else."""
    train(align_job("soft", steps=1), renders, tmp_path)
    facts = read_facts(tmp_path / "student.safetensors")
    assert facts["pair"] == PAIR and facts["run"] == "soft" and facts[NETWORK]["kind"] == "wonder3d"
    for other in ({"generator": {"unet": {"head_channels": 4}}}, {"reconstructor": {"heads": 4}}):
        with pytest.raises(UserError, match=r"was made with a network whose .*; use the network that"):
            load_pair(tiny_pair(**other), aligned=Aligned.in_folder(tmp_path))
