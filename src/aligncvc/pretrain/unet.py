"""The demo's multi-view diffusion teacher, trained on the rigs' latents."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.config.sections import Config
from aligncvc.files import sha256_file
from aligncvc.metrics.psnr import foreground_psnr, psnr
from aligncvc.models.generators import MultiViewGenerator, build_generator
from aligncvc.models.generators.base import Condition
from aligncvc.models.ledger import check_settings, network_settings
from aligncvc.models.ledger.strict import load_strict
from aligncvc.models.pair import seeded
from aligncvc.pretrain.data import Rings
from aligncvc.pretrain.fit import Run, fit, write_half
from aligncvc.pretrain.latents import encoded, with_recoloured
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.views import composite
from aligncvc.streams import normal, torch_stream

DROP_TOKEN, DROP_LATENT = 0.10, 0.10
"""Shares of objects trained without the image token / the image latents (half of each: without both)."""
SCORED_OBJECTS, SCORED_STEPS = 16, 10
"""Held-out objects and DDIM steps of the scores on the way; the last one takes all objects and 50 steps."""
FINAL_STEPS = 50


def timesteps(count: int, generator: torch.Generator) -> Tensor:
    """(count,) of 0..999 with a density that grows with t: where noise is high the views are decided."""
    return (1000 * torch.rand(count, generator=generator).sqrt()).long().clamp_max(999)


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


@dataclass(frozen=True)
class HeldOut:
    """Fixed held-out rigs (O, V, ...), the input view first, and the noise that their views start from."""

    images: Tensor
    alpha: Tensor
    cameras: Cameras
    noise: Tensor

    @staticmethod
    def of(rings: Rings, count: int, generator: MultiViewGenerator, root_seed: int) -> HeldOut:
        objects, starts, offsets = rings.fixed(count, rings.rig, root_seed)
        rgba, _, cameras = rings.posed(objects, starts, offsets)
        shape = (len(objects), *generator.latent_shape(len(rings.rig)))
        return HeldOut(composite(rgba, 1.0), rgba[:, :, 3:], cameras, normal(shape, root_seed, "unet-score"))

    @torch.no_grad()
    def sampled(self, generator: MultiViewGenerator, steps: int, guidance: float) -> Tensor:
        """Views (O, V, 3, H, W) in [0, 1]: DDIM samples, or for steps = 0 the x0 seen from pure noise."""
        views = []
        for i in range(0, len(self.images), 8):
            part = slice(i, i + 8)
            condition = generator.encode_condition(self.images[part, 0], self.cameras.c2w[part])
            noise = self.noise[part]
            if steps:
                latents = ddim(generator, condition, noise, steps, guidance)
            else:
                latents = generator.predict(noise, torch.full((len(noise),), 999), condition).x0
            views.append(generator.decode(latents).clamp(0, 1))
        return torch.cat(views)

    @torch.no_grad()
    def x0_errors(self, generator: MultiViewGenerator) -> dict[str, float]:
        """Mean squared x0 error in (whitened) latents by timestep."""
        condition = generator.encode_condition(self.images[:, 0], self.cameras.c2w)
        x0 = generator.encode(self.images)
        result = {}
        for t in (999, 749, 499, 249):
            times = torch.full((len(x0),), t)
            x0_hat = generator.predict(generator.add_noise(x0, self.noise, times), times, condition).x0
            result[f"x0_mse_{t}"] = float((x0_hat - x0).square().mean())
        return result

    def score(self, generator: MultiViewGenerator, steps: int, guidance: float) -> dict[str, float]:
        """PSNR and foreground PSNR of the three unseen views and of the front one, with baselines.

        sample: DDIM; mean: the x0 seen from pure noise, an estimate of the mean of all samples; copy: the
        front view in place of the others; ceiling: the VAE's round trip. *_over_copy_se: standard error of
        the sample's advantage over the copy, over objects.
        """
        with torch.no_grad():
            ceiling = generator.decode(generator.encode(self.images)).clamp(0, 1)
        copy = self.images[:, :1].expand_as(self.images)
        views = {
            "sample": self.sampled(generator, steps, guidance),
            "mean": self.sampled(generator, 0, 1.0),
            "copy": copy,
            "ceiling": ceiling,
        }
        others = slice(1, None)
        result: dict[str, float] = {}
        gains: dict[str, list[Tensor]] = {"psnr": [], "fg_psnr": []}
        for name, image in views.items():
            whole = psnr(image[:, others], self.images[:, others])
            front = foreground_psnr(image[:, others], self.images[:, others], self.alpha[:, others])
            result[f"{name}_psnr"], result[f"{name}_fg_psnr"] = float(whole.mean()), float(front.mean())
            if name in ("sample", "copy"):
                gains["psnr"].append(whole.mean(1))
                gains["fg_psnr"].append(front.mean(1))
        result["front_psnr"] = float(psnr(views["sample"][:, :1], self.images[:, :1]).mean())
        for name, (sample, baseline) in gains.items():
            difference = sample - baseline
            result[f"{name}_over_copy"] = float(difference.mean())
            result[f"{name}_over_copy_se"] = float(difference.std() / len(difference) ** 0.5)
        return result


def train(
    config: Config, rings: Rings, held_out: Rings, out: Path, vae: Path, start_from: Path | None = None
) -> None:
    """Write the denoiser's weights to `out` (safetensors, UNet2DConditionModel's own keys).

    start_from: weights of the same network to go on from with a new optimiser, in place of random ones.
    """
    settings = config.pretrain.unet
    generator = seeded(
        lambda: build_generator(config.mvg, config.render.size_px), config.seed, "pretrain-unet"
    )
    check_settings(vae, config, "vae")
    load_strict(generator.vae, vae)
    if start_from:
        check_settings(start_from, config, "unet")
        load_strict(generator.unet, start_from)
    epsilon = generator.scheduler.config.prediction_type == "epsilon"
    latents = encoded(generator, with_recoloured(rings, config.seed), settings.bf16)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(config.seed, "unet", step)
        x0, condition = latents.batch(settings.batch, draw)
        condition = dropped(condition, draw)
        noise = torch.randn(x0.shape, generator=draw)
        t = timesteps(settings.batch, draw)
        z_t = generator.add_noise(x0, noise, t)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            raw = generator.raw_prediction(z_t, t, condition)
        target = noise if epsilon else velocity(generator, x0, noise, t)
        return {"total": (raw.float() - target).square().mean()}

    looks = {
        name: views
        for name, look in (("original", 0), ("coloured", 1))
        if (views := held_out.select(held_out.objects, looks=[look])).ids
    }

    def score(objects: int = SCORED_OBJECTS, steps: int = SCORED_STEPS) -> dict[str, float]:
        """Held out: objects as they are, and recoloured ones (sizes and headings differ too)."""
        result: dict[str, float] = {}
        for name, views in looks.items():
            cases = HeldOut.of(views, objects, generator, config.seed)
            scores = cases.score(generator, steps, config.mvg.guidance_scale) | cases.x0_errors(generator)
            result |= {f"{name}_{k}": v for k, v in scores.items()}
        return result

    facts = [config.mvg.model_dump(), config.seed, rings.ids, sha256_file(vae)]
    run = Run.of("unet", settings, out, facts + ([sha256_file(start_from)] if start_from else []))
    fit(run, generator.unet, loss, score)
    final = score(len(held_out.ids), FINAL_STEPS)
    known = {"steps": settings.steps, "settings": network_settings(config, "unet")}
    write_half(out, generator.unet, network="UNet2DConditionModel", **known, **final)
