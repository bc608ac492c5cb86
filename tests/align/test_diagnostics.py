"""The knobs of training and what the log says about a step."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tiny_world import align_job

from aligncvc.align.batches import draw_batch
from aligncvc.align.diagnostics import gradient_magnitude, saturation
from aligncvc.align.discriminator import Discriminator, discriminator_loss
from aligncvc.align.train import train
from aligncvc.align.trainer import Trainer
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.scene.renderset import RenderSet
from aligncvc.streams import torch_stream
from aligncvc.training import rate_factor


def test_rate_rises_and_falls_and_is_constant_by_default() -> None:
    assert [rate_factor(i, 10, 0, 1.0) for i in range(10)] == [1.0] * 10
    course = [rate_factor(i, 20, 4, 0.1) for i in range(20)]
    assert course[:4] == [0.25, 0.5, 0.75, 1.0]
    assert course[4] == 1.0 and all(a > b for a, b in pairwise(course[4:]))
    assert course[-1] == pytest.approx(0.1)


def test_the_rate_reaches_both_networks(renders: Path) -> None:
    job = align_job("soft", steps=4, warmup_steps=2, lr_final=0.5, lr_student=2e-3, lr_recon=4e-4)
    trainer = Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True))
    for index, factor in ((0, 0.5), (1, 1.0), (3, 0.5)):
        assert trainer.step(index)["lr_factor"] == pytest.approx(factor)
        assert [g["lr"] for g in trainer.optimiser.param_groups] == pytest.approx(
            [2e-3 * factor, 4e-4 * factor]
        )


def test_heads_learn_alone_in_their_warm_up(renders: Path) -> None:
    gan = {"hidden": 8, "warmup": 1, "levels": [1, 3]}
    runs = {"hard": {"soft": False}}  # regression, among the tiny world's runs, needs the weight
    job = align_job("hard", lambda_recon=0.0, gan=gan, runs=runs)
    trainer = Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True))
    assert trainer.discriminator is not None and len(trainer.discriminator.heads) == 2
    recon = {k: v.clone() for k, v in trainer.reconstructor.state_dict().items()}
    heads = {k: v.clone() for k, v in trainer.discriminator.heads.state_dict().items()}
    first = trainer.step(0)
    assert first["loss_g"] == 0 and first["loss_d"] > 0
    assert all(torch.equal(v, recon[k]) for k, v in trainer.reconstructor.state_dict().items())
    assert any(not torch.equal(v, heads[k]) for k, v in trainer.discriminator.heads.state_dict().items())
    assert trainer.step(1)["loss_g"] > 0
    assert any(not torch.equal(v, recon[k]) for k, v in trainer.reconstructor.state_dict().items())


def test_gradient_penalty_flattens_the_heads_and_logits_are_reported() -> None:
    encoder = load_lite0()
    reals, fakes = (torch.rand(1, 2, 3, 32, 32, generator=torch_stream(0, name)) * 0.3 for name in "rf")
    fakes = fakes + 0.7

    def slope_and_gap(r1: float) -> tuple[float, float]:
        discriminator = Discriminator(encoder, 8, 0, input_px=64, levels=[2])
        optimiser = torch.optim.Adam(discriminator.heads.parameters(), lr=2e-2)
        for _ in range(25):
            heads = discriminator_loss(discriminator, reals, fakes, 0.8, None, r1)
            optimiser.zero_grad()
            heads.loss.backward()
            optimiser.step()
        penalty = discriminator_loss(discriminator, reals, fakes, 0.8, None, 1.0).loss
        plain = discriminator_loss(discriminator, reals, fakes, 0.8, None).loss
        return float((penalty - plain).detach()), heads.real - heads.fake

    (free, gap), (penalised, small_gap) = slope_and_gap(0.0), slope_and_gap(10.0)
    assert 0 < penalised < 0.5 * free
    assert gap > 0 and small_gap < gap


def test_blur_and_grey_are_seen() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch_stream(0, "images"))
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    assert float(gradient_magnitude(blurred)) < 0.5 * float(gradient_magnitude(images))
    grey = images.mean(1, keepdim=True).expand_as(images)
    assert float(saturation(grey)) == 0 < float(saturation(images))


def test_log_says_what_diagnosis_needs(renders: Path, tmp_path: Path) -> None:
    train(align_job(steps=4, monitor_every=2, lr_student=0.05), renders, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    always = {"k", "d_real", "d_fake", "asd_distance", "residual_psnr", "gt_psnr", "views_gt_psnr"}
    always |= {"sharpness", "sharpness_renderings", "saturation", "lr_factor", "grad_student", "grad_recon"}
    assert all(always <= r.keys() for r in records)
    distances = [r for r in records if "fd_student_teacher" in r]
    assert [r["step"] for r in distances] == [0, 2, 3]  # every second step, and the last
    student = [r["fd_student_teacher"] for r in distances]
    assert student[0] < student[-1]  # it moves away from the teacher
    assert len({r["fd_teacher_gt"] for r in distances}) == 1 and distances[0]["fd_teacher_gt"] > 0


def test_monitor_does_not_change_the_run(renders: Path) -> None:
    steps = []
    for every in (0, 1):
        job = align_job("soft", monitor_every=every)
        trainer = Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True))
        first = trainer.monitored(0)
        assert bool(first) == bool(every)
        trainer.step(0)
        if every:  # before any training the student is the teacher
            assert first["fd_student_teacher"] == pytest.approx(0.0, abs=1e-3)
            assert first["fd_student_gt"] == pytest.approx(first["fd_teacher_gt"], rel=1e-4)
        steps.append([p.detach().clone() for p in trainer.lora.values()])
    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


def test_named_batches_are_not_those_of_a_step(renders: Path) -> None:
    one = draw_batch(RenderSet(renders, 32), 0, "monitor", range(4), "cpu")
    assert one.names[0] == ("align", "monitor", 0)
