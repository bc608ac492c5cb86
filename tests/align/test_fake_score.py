"""Soft alignment with a learnt score: its gradient, what learns when, and a killed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_world import align_job

from aligncvc.align.asd import DMD_FLOOR
from aligncvc.align.batches import draw_batch
from aligncvc.align.train import train
from aligncvc.align.trainer import Trainer
from aligncvc.models.generators.base import Prediction
from aligncvc.scene.renderset import RenderSet


def make(renders: Path, **asd: Any) -> Trainer:
    job = align_job("soft", asd={"mode": "fake_score", **asd})
    return Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True))


def drawn(trainer: Trainer) -> tuple[Any, ...]:
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition, latents, _ = trainer.roll_out(batch, 1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    return latents, condition, torch.tensor([600, 800]), noise


def test_a_fake_score_that_is_the_teacher_gives_no_gradient(renders: Path) -> None:
    """Its LoRA begins with B = 0; guidance of the teacher alone would make a difference."""
    gradient, distance = make(renders).fake_score.gradient(*drawn(make(renders)))
    assert torch.equal(gradient, torch.zeros_like(gradient)) and float(distance.min()) > 0
    guided, _ = make(renders, guidance_scale=2.0).fake_score.gradient(*drawn(make(renders)))
    assert float(guided.abs().max()) > 0


def test_the_gradient_leads_from_what_the_student_makes_to_what_the_teacher_expects(
    renders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x0 of the fake less that of the teacher, over the student's distance to the teacher."""
    trainer = make(renders)
    latents, *others = drawn(trainer)
    means = iter([torch.full_like(latents, 1.0), torch.full_like(latents, 3.0)])  # teacher, fake
    monkeypatch.setattr(trainer.generator, "predict", lambda *_: Prediction(next(means), latents))
    gradient, distance = trainer.fake_score.gradient(torch.full_like(latents, 2.0), *others)
    torch.testing.assert_close(gradient, torch.full_like(latents, 2.0 / (1.0 + DMD_FLOOR)))
    torch.testing.assert_close(distance, torch.ones(2, latents.shape[1]))


def test_the_fake_score_learns_the_students_samples_and_nothing_else_does(renders: Path) -> None:
    trainer = make(renders, fake_lr=0.02, fake_updates=1)
    latents, condition, *_ = drawn(trainer)
    score, names = trainer.fake_score, [("a",), ("b",)]
    fake = {id(p) for p in score.parameters.values()}
    before = {n: p.clone() for n, p in trainer.generator.named_parameters() if id(p) not in fake}
    losses = [score.learn(latents, condition, names) for _ in range(25)]
    assert losses[-1] < 0.95 * losses[0]  # the same noise and times each time
    after = dict(trainer.generator.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    active = [p.requires_grad for p in trainer.lora.values()]
    assert all(active) and not any(p.requires_grad for p in score.parameters.values())


def test_a_step_has_both_and_the_student_s_file_one(renders: Path, tmp_path: Path) -> None:
    """From the second step on the fake score differs, so the student learns; it is not published."""
    trainer = make(renders)
    records = [trainer.step(index) for index in range(2)]
    assert records[1]["grad_student"] > 0 and records[1]["loss_fake"] > 0
    job = align_job("soft", asd={"mode": "fake_score"}, steps=4, save_every=2)
    train(job, renders, tmp_path / "whole")
    plain = train_file(align_job("soft", steps=2), renders, tmp_path / "plain")
    whole = load_file(tmp_path / "whole" / "student.safetensors")
    assert whole.keys() == plain.keys() and not any("fake" in name for name in whole)


def train_file(job: Any, renders: Path, out: Path) -> dict[str, torch.Tensor]:
    train(job, renders, out)
    return load_file(out / "student.safetensors")


def test_a_killed_run_ends_where_an_unbroken_one_does(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = align_job("soft", asd={"mode": "fake_score"}, steps=4, save_every=2)
    whole = train_file(job, renders, tmp_path / "whole")
    step = Trainer.step

    def dies(self: Trainer, index: int) -> dict[str, float]:
        if index == 3:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(Trainer, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(job, renders, tmp_path / "killed")
    monkeypatch.setattr(Trainer, "step", step)
    killed = train_file(job, renders, tmp_path / "killed")
    assert all(torch.equal(killed[name], value) for name, value in whole.items())
