"""What tells a generator with a frozen denoiser of its own 3D model, trained as Ouroboros3D's adapters are.

Self-conditioning (arXiv 2406.03184): the generator predicts clean views without a 3D model, these are
reconstructed and drawn, and the maps of that are shown when it predicts once more. Only then there is a loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.files import sha256_file
from aligncvc.loop.feedback import State
from aligncvc.loop.unroll import Loop
from aligncvc.models.generators.base import TakesMaps, Tree
from aligncvc.models.generators.denoising import denoising_error
from aligncvc.models.pair import PairOfModels, load_reconstructor
from aligncvc.pretrain.fit import begin_with, fit, generator_with, write_half
from aligncvc.pretrain.held_out_views import SCORED_AT, HeldOut
from aligncvc.pretrain.rings import Rings
from aligncvc.pretrain.unet import RECOLOURED, SCORED_OBJECTS, noised
from aligncvc.scene.cameras import Cameras
from aligncvc.streams import torch_stream


@dataclass(frozen=True)
class Rigs:
    """Objects: clean latents, the noise they get at timesteps (B,), input images, what the denoiser sees."""

    x0: Tensor
    noise: Tensor
    timesteps: Tensor
    images: Tensor
    cameras: Cameras
    condition: Tree


@torch.no_grad()
def shown_its_model(pair: PairOfModels, rigs: Rigs, guidance: float) -> Tree:
    """The condition, with maps of the 3D model of what the generator predicts without any."""
    generator, model = pair.generator, cast("TakesMaps", pair.generator)
    z_t = generator.schedule.add_noise(rigs.x0, rigs.noise, rigs.timesteps)
    x0 = generator.predict(z_t, rigs.timesteps, rigs.condition, guidance).x0
    loop = Loop(pair, rigs.cameras, guidance, lambda index, time: rigs.noise)
    look = loop.look(x0, State(x0, rigs.images, rigs.condition, times=[0]), clean=True)
    return model.with_maps(rigs.condition, look.drawn, rigs.cameras)


def x0_errors(pair: PairOfModels, cases: HeldOut, guidance: float) -> dict[str, float]:
    """Mean squared errors of predicted clean latents, with maps and without, on held-out rigs."""
    generator, images = pair.generator, cases.images
    result = {}
    with torch.no_grad():
        x0, condition = generator.encode(images), generator.encode_condition(images[:, 0], cases.cameras.c2w)
        for t in SCORED_AT:
            times = generator.schedule.like(torch.full((len(x0),), t))
            rigs = Rigs(x0, cases.noise, times, images[:, 0], cases.cameras, condition)
            z_t = generator.schedule.add_noise(x0, cases.noise, times)
            conditions = {"alone": condition, "told": shown_its_model(pair, rigs, guidance)}
            for name, each in conditions.items():
                error = generator.predict(z_t, times, each).x0 - x0
                result[f"x0_mse_{t}_{name}"] = float(error.square().mean())
    return result


def train(
    job: PretrainJob, rings: Rings, held_out: Rings, out: Path, given: Mapping[str, Path] | None = None
) -> None:
    """Write the weights of the generator's maps to `out`; goes on after a stop. given: files of its parts."""
    seed, settings, given = job.seed, job.training, dict(given or {})
    assert job.pair is not None
    generator = generator_with(job.model, job, given, "pretrain-maps").requires_grad_(False).eval()
    pair = PairOfModels(
        job.pair, generator, load_reconstructor(job.pair.reconstructor, seed, job.checkpoints)
    )
    told = generator.parts()["maps"].requires_grad_(True)
    if remark := begin_with(told, job):
        print(remark, flush=True)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(seed, "maps", step)
        batch = rings.batch(settings.batch, 0, draw, RECOLOURED)
        x0, noise, t, condition = noised(generator, batch, draw, settings.bf16)
        rigs = Rigs(x0, noise, t, batch.images[:, 0], batch.cameras, condition)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            condition = shown_its_model(pair, rigs, job.guidance)
            return {"total": denoising_error(generator, x0, noise, t, condition)}

    def score() -> dict[str, float]:
        result: dict[str, float] = {}
        for name, views in held_out.by_look().items():
            cases = HeldOut.of(views, SCORED_OBJECTS, generator, seed)
            result |= {f"{name}_{k}": v for k, v in x0_errors(pair, cases, job.guidance).items()}
        return result

    inputs = [rings.ids, {part: sha256_file(path) for part, path in given.items()}]
    fit(job, told, out, inputs, loss, score)
    write_half(job, out, told, score())
