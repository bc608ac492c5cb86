"""`python -m aligncvc.bench.dry_step`: whether a training step runs at a configuration's sizes, and its cost.

The pair has random weights (time and memory do not depend on them), the object is synthetic, and the Trainer
itself makes the step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tyro

from aligncvc.align.batches import unrolled_steps
from aligncvc.align.launch import accelerator_for
from aligncvc.align.trainer import Trainer
from aligncvc.bench.measure import size_mb
from aligncvc.bench.synthetic import synthetic_renders
from aligncvc.config.jobs.align import AlignJob, AlignRun
from aligncvc.config.option import Changes
from aligncvc.config.plan import CLIP_HEADS, Plan, chosen
from aligncvc.errors import UserError, cli
from aligncvc.hardware import PeakMemory, hardware
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.pair import load_pretrained

Facts = dict[str, Any]

BOTH = AlignRun()
"""Soft and hard alignment, the paper's run."""


def align_job(plan: Plan, run: str = "both", losses: AlignRun = BOTH) -> AlignJob:
    """A training run with any losses and name; nothing of it is kept."""
    return plan.training(next(iter(plan.pairs.values())), run, losses)


def changed(job: AlignJob, **knobs: object) -> AlignJob:
    """The same job with other knobs of training."""
    return job.model_copy(update={"training": job.training.model_copy(update=knobs)})


def without_weights(job: AlignJob) -> AlignJob:
    """The job with random weights and nothing to fetch: Lite0 stands in for a CLIP whose file is missing.

    It is without distances on a fixed batch, too, which are no part of a step.
    """
    offline = job.checkpoints.model_copy(update={"offline": True})
    bare = {"pair": job.pair.without_weights(), "checkpoints": offline}
    job = changed(job, monitor_every=0).model_copy(update=bare)
    if job.training.gan.encoder == "clip":
        try:
            resolve(CLIP_HEADS, offline)
        except UserError:
            lite0 = job.training.gan.model_copy(update={"encoder": "lite0", "levels": None})
            return changed(job, gan=lite0)
    return job


def step_with(k: int, job: AlignJob) -> int:
    """The first training step whose unrolled sampling step is k."""
    total = len(job.timesteps)
    if not 1 <= k <= total:
        raise UserError(f"a training step unrolls 1 to {total} steps, not {k}; give another --k")
    return next(i for i in range(10_000) if unrolled_steps(job.seed, i, total) == k)


def hold_teacher_twice(trainer: Trainer) -> None:
    """Give the trainer's teacher a denoiser of its own, which shows what sharing one saves."""
    trainer.teacher = load_pretrained(trainer.job.pair, trainer.job.checkpoints).generator.to(trainer.device)
    for name, part in trainer.generator.named_children():
        if part is not trainer.generator.denoiser:  # the others do not differ: only this is needed twice
            setattr(trainer.teacher, name, part)


def dry_step(job: AlignJob, *, k: int = 1, steps: int = 1, teacher_copy: bool = False) -> Facts:
    """Make `steps` training steps of a run on a synthetic object, with random weights; report the last one.

    k: the unrolled sampling step that receives the gradient; the k - 1 before it add time. steps: 1 includes
    the optimisers' first allocation; more leave warming up out of `seconds`. teacher_copy: hold the teacher's
    denoiser twice, as the release does.
    Returns seconds and peak_mb (of the last step; on a CPU of the whole process), added_mb (above this
    process without networks), weights_mb (networks), record (what metrics.jsonl would hold), finite (every
    trained parameter), sizes in pixels, discriminator (`lite0` where CLIP's file is missing), the job's
    precision and checkpointing, hardware. Raises UserError if the run cannot be trained.
    """
    job, index = without_weights(job), step_with(k, job)
    spec, training = job.pair, job.training
    accelerator = accelerator_for(training)
    before = PeakMemory(accelerator.device).read()
    with synthetic_renders(spec.rig.azimuths_deg, spec.renderings_px) as renders:
        trainer = Trainer(job, renders, accelerator)
        networks = [trainer.generator, trainer.reconstructor, trainer.discriminator, trainer.lpips]
        if teacher_copy:
            hold_teacher_twice(trainer)
            networks.append(trainer.teacher)
        for _ in range(steps):
            memory = PeakMemory(accelerator.device)
            record = trainer.step(index)
            peak = memory.read()
    trained = [*trainer.lora.values(), *trainer.recon_parameters.values()]
    return {
        "run": job.run,
        "seconds": record["seconds"],
        "peak_mb": round(peak, 1),
        "added_mb": round(peak - before, 1),
        "weights_mb": round(size_mb(networks), 1),
        "record": record,
        "finite": all(bool(p.isfinite().all()) for p in trained),
        "views_px": spec.views_px,
        "renderings_px": spec.renderings_px,
        "domains": spec.generator.network.get("domains"),
        "discriminator": training.gan.encoder if trainer.discriminator is not None else None,
        "precision": accelerator.mixed_precision,
        "gradient_checkpointing": training.gradient_checkpointing,
        "hardware": hardware(),
    }


def command(
    config: Path = Path("config/paper.yaml"),
    changes: Changes = (),
    run: str = "both",
    k: int = 1,
    steps: int = 1,
    bf16: bool | None = None,
    checkpointing: bool | None = None,
    teacher_copy: bool = False,
) -> None:
    """One training step on a synthetic object with random weights, printed as JSON.

    Args:
        config: configuration file whose first pair is built.
        run: alignment run whose losses are computed.
        k: the unrolled sampling step that receives the gradient, 1 to 4.
        steps: training steps; the last one is reported.
        bf16: bfloat16 autocast; the configuration's if left out.
        checkpointing: gradient checkpointing; the configuration's if left out.
        teacher_copy: hold the teacher's denoiser twice.
    """
    plan, asked = Plan.read(config, changes), {"bf16": bf16, "gradient_checkpointing": checkpointing}
    job = align_job(plan, run, chosen(plan.config.align.runs, run, "align.runs"))
    job = changed(job, **{name: value for name, value in asked.items() if value is not None})
    print(json.dumps(dry_step(job, k=k, steps=steps, teacher_copy=teacher_copy), indent=1))


def main() -> None:
    tyro.cli(command)


if __name__ == "__main__":
    cli(main)
