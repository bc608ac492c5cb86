"""What a process holds in training: the count is that of a real trainer, and the docs have these numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from aligncvc.align.trainer import Trainer
from aligncvc.bench.dry_step import align_job, changed, without_weights
from aligncvc.bench.shares import FLOAT32, HEAD_TIMES, TRAINED_TIMES, counted, held, least_of, table
from aligncvc.bench.synthetic import synthetic_renders
from aligncvc.config.plan import Plan
from aligncvc.files import PROJECT_ROOT


def test_all_that_a_trainer_holds_is_counted_once(smoke: Path) -> None:
    job = changed(without_weights(align_job(Plan.read(smoke))), lambda_recon=1.0)
    spec = job.pair
    with synthetic_renders(spec.rig.azimuths_deg, spec.renderings_px) as renders:
        trainer = Trainer(job, renders, Accelerator(cpu=True))
        trainer.step(0)
    assert trainer.discriminator is not None and trainer.lpips is not None
    trained = [*trainer.lora.values(), *trainer.recon_parameters.values()]
    averages = [v for s in trainer.optimiser.state.values() for v in s.values() if v.numel() > 1]
    tensors = [*trainer.generator.parameters(), *trainer.reconstructor.parameters(), *averages]
    tensors += [*trainer.ema.shadow.values(), *[p for p in trained if p.grad is None]]
    tensors += [p.grad for p in trained if p.grad is not None]
    heads, encoder = trainer.discriminator.heads, trainer.discriminator.encoder
    losses = FLOAT32 * counted([*encoder.parameters(), *trainer.lpips.parameters()])
    expected = sum(t.numel() * t.element_size() for t in tensors) + losses
    expected += FLOAT32 * HEAD_TIMES * counted(heads.parameters())
    for least in (50, 10**12):
        assert held(job, least).bytes_each(1) == pytest.approx(expected, rel=1e-3)
    shared = held(job, 50)
    parts = shared.frozen_shared + TRAINED_TIMES * (shared.lora_shared + shared.recon_shared)
    assert shared.bytes_each(2) == pytest.approx(expected - FLOAT32 * parts / 2, rel=1e-3)
    assert shared.lora_whole == 0 and shared.unit > 0
    assert held(job, 10**12).unit == 0
    assert shared.rows["LoRA"][0] % (FLOAT32 * TRAINED_TIMES) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wonder3d-plus+lgm", "sv3d+lgm"])
def test_the_docs_have_these_numbers(name: str) -> None:
    plan = Plan.read(PROJECT_ROOT / "config/paper.yaml")
    job = plan.training(plan.pairs[name], "both", plan.config.align.runs["both"])
    said = (PROJECT_ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert "\n".join(table(job, (2, 4, 8), least_of())) in said
