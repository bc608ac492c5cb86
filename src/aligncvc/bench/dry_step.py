"""`python -m aligncvc.bench.dry_step`: whether a training step runs at a configuration's sizes, and its cost.

One synthetic object is drawn into a temporary folder, the pair is built with random weights (time and memory
do not depend on them), and the Trainer itself makes a step: the losses, optimisers and averages of a run.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch
import tyro

from aligncvc.align.batches import unrolled_steps
from aligncvc.bench.jobs import RUN, align_job, changed, plan_of
from aligncvc.bench.measure import size_mb
from aligncvc.bench.random_weights import Precision
from aligncvc.bench.synthetic import synthetic_renders
from aligncvc.bench.training import accelerator_for, set_up, without_weights
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.plan import chosen
from aligncvc.errors import UserError, cli
from aligncvc.hardware import PeakMemory, hardware

Facts = dict[str, Any]


def step_with(k: int, job: AlignJob) -> int:
    """The first training step whose unrolled sampling step is k. Raises UserError unless k is one of them."""
    total = len(job.timesteps)
    if not 1 <= k <= total:
        raise UserError(f"a training step unrolls 1 to {total} steps, not {k}; give another --k")
    return next(i for i in range(10_000) if unrolled_steps(job.seed, i, total) == k)


def dry_step(job: AlignJob, *, k: int = 1, steps: int = 1, teacher_copy: bool = False) -> Facts:
    """Make `steps` training steps of a run on a synthetic object, with random weights; report the last one.

    k: the unrolled sampling step that receives the gradient; the k - 1 before it add time. steps: 1 includes
    the optimisers' first allocation; more leave warming up out of `seconds`. teacher_copy: hold the teacher's
    denoiser twice, as the release does. Precision, checkpointing and batch are the job's.
    Returns seconds and peak_mb (of the last step; on a CPU of the whole process), weights_mb (networks),
    record (what metrics.jsonl would hold), finite (every trained parameter after the step), sizes in pixels,
    discriminator (`lite0` where CLIP's file is missing), precision, gradient_checkpointing, hardware. Raises
    UserError if the run cannot be trained or the loss is not finite.
    """
    job, index = without_weights(job), step_with(k, job)
    spec, accelerator = job.pair, accelerator_for(job)
    with synthetic_renders(spec.rig.azimuths_deg, spec.renderings_px) as renders:
        trainer, networks = set_up(job, renders, accelerator, teacher_copy)
        for _ in range(steps):
            memory = PeakMemory(accelerator.device)
            record = trainer.step(index)
            peak = memory.read()
    trained = [*trainer.lora.values(), *trainer.recon_parameters.values()]
    return {
        "run": job.run,
        "seconds": record["seconds"],
        "peak_mb": round(peak, 1),
        "weights_mb": round(size_mb(networks), 1),
        "record": record,
        "finite": all(bool(p.isfinite().all()) for p in trained),
        "views_px": spec.views_px,
        "renderings_px": spec.renderings_px,
        "domains": spec.generator.network.get("domains"),
        "discriminator": job.training.gan.encoder if trainer.discriminator is not None else None,
        "precision": accelerator.mixed_precision,
        "gradient_checkpointing": job.training.gradient_checkpointing,
        "hardware": hardware(),
    }


def measure_step(job: AlignJob, precision: Precision, plain: bool) -> Facts:
    """seconds, peak_mb, weights_mb, finite and a note of one step at batch 1 on a synthetic object.

    Ours: one denoiser for student and teacher, gradient checkpointing, bfloat16 if that is `precision`; plain:
    in float32 without checkpointing, the teacher's denoiser a second copy. On CUDA the mean over the unrolled
    steps k, each after a step that warms up; on a CPU k = 1, the shortest, once.
    """
    cuda, bf16 = torch.cuda.is_available(), not plain and precision == "bf16"
    job = changed(job, batch=1, bf16=bf16, gradient_checkpointing=not plain)
    unrolled = range(1, 1 + (len(job.timesteps) if cuda else 1))
    found = [dry_step(job, k=k, steps=2 if cuda else 1, teacher_copy=plain) for k in unrolled]
    facts = [
        f"mean of k = 1 to {unrolled[-1]}" if cuda else "k = 1",
        "bf16" if bf16 else "float32",
        "no gradient checkpointing" if plain else "gradient checkpointing",
        "teacher's denoiser twice" if plain else "one denoiser",
        f"discriminator on {found[0]['discriminator']}",
    ]
    return {
        "seconds": statistics.mean(f["seconds"] for f in found),
        "peak_mb": max(f["peak_mb"] for f in found),
        "weights_mb": found[0]["weights_mb"],
        "finite": all(f["finite"] for f in found),
        "note": "; ".join(facts),
    }


def command(
    config: Path = Path("config/paper.yaml"),
    pair: str | None = None,
    run: str = RUN,
    k: int = 1,
    steps: int = 1,
    bf16: bool | None = None,
    checkpointing: bool | None = None,
    teacher_copy: bool = False,
) -> None:
    """One training step on a synthetic object with random weights, printed as JSON.

    Args:
        config: configuration file whose networks and sizes are built.
        pair: which of its pairs; the first if left out.
        run: alignment run whose losses are computed.
        k: the unrolled sampling step that receives the gradient, 1 to 4.
        steps: training steps; the last one is reported.
        bf16: bfloat16 autocast; the configuration's if left out.
        checkpointing: gradient checkpointing; the configuration's if left out.
        teacher_copy: hold the teacher's denoiser twice.
    """
    plan, asked = plan_of(config), {"bf16": bf16, "gradient_checkpointing": checkpointing}
    job = align_job(plan, pair, run, chosen(plan.config.align.runs, run, "align.runs"))
    job = changed(job, **{name: value for name, value in asked.items() if value is not None})
    print(json.dumps(dry_step(job, k=k, steps=steps, teacher_copy=teacher_copy), indent=1))


if __name__ == "__main__":
    cli(lambda: tyro.cli(command))
