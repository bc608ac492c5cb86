"""The demo's multi-view diffusion teacher, trained on the rigs' latents."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.checkpoints import load_strict
from aligncvc.config import Config
from aligncvc.metrics import psnr
from aligncvc.mvg import MultiViewGenerator, build_generator
from aligncvc.mvg.base import Condition
from aligncvc.pair import seeded
from aligncvc.pretrain.data import Rings
from aligncvc.pretrain.fit import Run, fit, write_half
from aligncvc.streams import normal, torch_stream
from aligncvc.views import composite

DROP_TOKEN, DROP_LATENT = 0.10, 0.10
"""Shares of objects trained without the image token / the image latents (half of each: without both)."""


def dropped(condition: Condition, generator: torch.Generator) -> Condition:
    """One uniform number an object decides what it goes without, as in Wonder3D: token, both or latents."""
    p = torch.rand(condition.tokens.shape[0], generator=generator)
    token = (p >= DROP_TOKEN).float().view(-1, 1, 1)
    latent = ((p < DROP_TOKEN / 2) | (p >= DROP_TOKEN / 2 + DROP_LATENT)).float().view(-1, 1, 1, 1)
    return Condition(condition.tokens * token, condition.latents * latent, condition.cameras)


def velocity(generator: MultiViewGenerator, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    signal, sigma = generator.signal_noise(t)
    return signal * noise - sigma * x0


@torch.no_grad()
def ddim(
    generator: MultiViewGenerator, condition: Condition, noise: Tensor, steps: int, guidance: float
) -> Tensor:
    """Deterministic DDIM from pure noise (B, V, C, h, w) to latents, `steps` even steps, for scores."""
    times = torch.linspace(999, 0, steps + 1).round().long()
    z = noise
    for now, after in pairwise(times):
        prediction = generator.predict(z, now.expand(len(z)), condition, guidance)
        z = generator.add_noise(prediction.x0, prediction.eps, after.expand(len(z)))
    return generator.predict(z, times[-1].expand(len(z)), condition, guidance).x0


def train(config: Config, rings: Rings, held_out: Rings, out: Path, vae: Path) -> None:
    """Write the denoiser's weights to `out` (safetensors, UNet2DConditionModel's own keys)."""
    settings = config.pretrain
    generator = seeded(
        lambda: build_generator(config.mvg, config.render.size_px), config.seed, "pretrain-unet"
    )
    load_strict(generator.vae, vae)
    epsilon = generator.scheduler.config.prediction_type == "epsilon"

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(config.seed, "unet", step)
        batch = rings.batch(settings.batch, 0, draw)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            condition = dropped(generator.encode_condition(batch.images[:, 0], batch.cameras.c2w), draw)
            x0 = generator.encode(batch.images)
        x0 = x0.float()
        condition = Condition(condition.tokens.float(), condition.latents.float(), condition.cameras)
        noise = torch.randn(x0.shape, generator=draw)
        t = torch.randint(1000, (settings.batch,), generator=draw)
        z_t = generator.add_noise(x0, noise, t)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            raw = generator.raw_prediction(z_t, t, condition)
        target = noise if epsilon else velocity(generator, x0, noise, t)
        return {"total": (raw.float() - target).square().mean()}

    objects, starts, offsets = held_out.fixed(12, held_out.rig, config.seed)
    rgba, cameras = held_out.posed(objects, starts, offsets)
    images = composite(rgba, 1.0)
    noise = normal((len(objects), *generator.latent_shape(len(held_out.rig))), config.seed, "unet-score")

    @torch.no_grad()
    def score() -> dict[str, float]:
        """Held out: three unseen views at 10 DDIM steps beside copies of the front; x0 error by timestep."""
        condition = generator.encode_condition(images[:, 0], cameras.c2w)
        x0 = generator.encode(images)
        views = generator.decode(ddim(generator, condition, noise, 10, config.mvg.guidance_scale)).clamp(0, 1)
        result = {
            "views_psnr": float(psnr(views[:, 1:], images[:, 1:]).mean()),
            "front_psnr": float(psnr(views[:, :1], images[:, :1]).mean()),
            "copy_front_psnr": float(psnr(images[:, :1].expand_as(images)[:, 1:], images[:, 1:]).mean()),
        }
        for t in (999, 749, 499, 249):
            times = torch.full((len(objects),), t)
            x0_hat = generator.predict(generator.add_noise(x0, noise, times), times, condition).x0
            result[f"x0_mse_{t}"] = float((x0_hat - x0).square().mean())
        return result

    run = Run.of("unet", settings.unet_steps, out, [config.mvg.model_dump(), settings.model_dump()])
    fit(run, generator.unet, loss, score, settings)
    write_half(out, generator.unet, network="UNet2DConditionModel", steps=settings.unet_steps, **score())
