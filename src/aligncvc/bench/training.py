"""Trainers that are measured: with random weights or not, the teacher's denoiser shared or held twice."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn

from aligncvc.align.trainer import Trainer
from aligncvc.bench.jobs import changed
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.plan import CLIP_HEADS
from aligncvc.errors import UserError
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.pair import load_pretrained
from aligncvc.scene.renderset import RenderSet


def accelerator_for(job: AlignJob) -> Accelerator:
    """The device that is there, in the job's precision."""
    cpu = not torch.cuda.is_available()
    return Accelerator(cpu=cpu, mixed_precision="bf16" if job.training.bf16 else None)


def set_up(
    job: AlignJob, renders: RenderSet, accelerator: Accelerator, teacher_copy: bool = False
) -> tuple[Trainer, list[nn.Module | None]]:
    """A trainer without distances on a fixed batch, which are no part of a step, and its networks."""
    trainer = Trainer(changed(job, monitor_every=0), renders, accelerator)
    networks = [trainer.generator, trainer.reconstructor, trainer.discriminator, trainer.lpips]
    if teacher_copy:
        hold_teacher_twice(trainer)
        networks.append(trainer.teacher)
    return trainer, networks


def hold_teacher_twice(trainer: Trainer) -> None:
    """Give the trainer's teacher a denoiser of its own, which shows what sharing one saves."""
    trainer.teacher = load_pretrained(trainer.job.pair, trainer.job.checkpoints).generator.to(trainer.device)
    for name, part in trainer.generator.named_children():
        if part is not trainer.generator.denoiser:  # the others do not differ: only this is needed twice
            setattr(trainer.teacher, name, part)


def without_weights(job: AlignJob) -> AlignJob:
    """The same job with random weights; nothing is fetched, and a missing CLIP is replaced by the bundled Lite0."""
    offline = job.checkpoints.model_copy(update={"offline": True})
    job = job.model_copy(update={"pair": job.pair.without_weights(), "checkpoints": offline})
    if job.training.gan.encoder == "clip":
        try:
            resolve(CLIP_HEADS, offline)
        except UserError:
            lite0 = job.training.gan.model_copy(update={"encoder": "lite0", "levels": None})
            return changed(job, gan=lite0)
    return job
