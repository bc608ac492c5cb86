"""A multi-view generator's denoiser, trained on the latents of rendered rigs.

Any kind of generator: its own schedule, condition and parametrisation, through `MultiViewGenerator`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.files import sha256_file
from aligncvc.models.generators.base import MultiViewGenerator, Tree, over_tree
from aligncvc.models.generators.denoising import denoising_error
from aligncvc.pretrain.fit import begin_with, fit, generator_with, write_half
from aligncvc.pretrain.held_out_views import HeldOut
from aligncvc.pretrain.rings import Batch, Rings
from aligncvc.streams import torch_stream

RECOLOURED = 0.3
"""Share of recoloured objects, beside the looks that were rendered."""
WITHOUT_IMAGE = 0.1
"""Share of objects trained without the image, for classifier-free guidance."""
SCORED_OBJECTS, SCORED_STEPS = 16, 10
"""Held-out objects and DDIM steps of the scores on the way."""
FINAL_OBJECTS, FINAL_STEPS = 24, 25
"""And of the last one."""


def encoded(generator: MultiViewGenerator, batch: Batch, bf16: bool) -> tuple[Tensor, Tree]:
    """Clean latents (B, V, C, h, w) of rigs, and their conditions (about 5 ms a view on a core)."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        x0 = generator.encode(batch.images)
        condition = generator.encode_condition(batch.images[:, 0], batch.cameras.c2w)
    return x0.float(), over_tree(lambda each: each.float(), condition)


def timesteps(count: int, generator: torch.Generator) -> Tensor:
    """(count,) of 0..999 with a density that grows with t: where noise is high the views are decided."""
    return (1000 * torch.rand(count, generator=generator).sqrt()).long().clamp_max(999)


def sometimes_without_image(
    generator: MultiViewGenerator, condition: Tree, batch: int, draw: torch.Generator
) -> Tree:
    """Some of `batch` objects' conditions are those of the unconditional branch."""
    without = torch.rand(batch, generator=draw) < WITHOUT_IMAGE

    def chosen(seen: Tensor, unseen: Tensor) -> Tensor:
        return torch.where(without.view(-1, *[1] * (seen.dim() - 1)), unseen, seen)

    return over_tree(chosen, condition, generator.unconditional(condition))


def noised(
    generator: MultiViewGenerator, batch: Batch, draw: torch.Generator, bf16: bool
) -> tuple[Tensor, Tensor, Tensor, Tree]:
    """What one step of training draws: clean latents, noise, timesteps (B,), what the denoiser sees."""
    x0, condition = encoded(generator, batch, bf16)
    condition = sometimes_without_image(generator, condition, len(x0), draw)
    noise = torch.randn(x0.shape, generator=draw)
    return x0, noise, generator.schedule.like(timesteps(len(x0), draw)), condition


def train(
    job: PretrainJob, rings: Rings, held_out: Rings, out: Path, given: Mapping[str, Path] | None = None
) -> None:
    """Write the denoiser's weights to `out`; goes on after a stop. given: files of parts, as `vae`."""
    seed, settings, given = job.seed, job.training, dict(given or {})
    generator = generator_with(job.model, job, given, "pretrain-unet")
    if remark := begin_with(generator.denoiser, job):
        print(remark, flush=True)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(seed, "unet", step)
        batch = rings.batch(settings.batch, 0, draw, RECOLOURED)
        x0, noise, t, condition = noised(generator, batch, draw, settings.bf16)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            return {"total": denoising_error(generator, x0, noise, t, condition)}

    def score(objects: int = SCORED_OBJECTS, steps: int = SCORED_STEPS) -> dict[str, float]:
        result: dict[str, float] = {}
        for name, views in held_out.by_look().items():
            cases = HeldOut.of(views, objects, generator, seed)
            scores = cases.score(generator, steps, job.guidance) | cases.x0_errors(generator)
            result |= {f"{name}_{k}": v for k, v in scores.items()}
        return result

    inputs = [rings.ids, {part: sha256_file(path) for part, path in given.items()}]
    fit(job, generator.denoiser, out, inputs, loss, score)
    write_half(job, out, generator.denoiser, score(FINAL_OBJECTS, FINAL_STEPS))
