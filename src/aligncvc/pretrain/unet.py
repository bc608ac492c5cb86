"""The demo's multi-view diffusion teacher, trained on the rigs' latents, which are encoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.metrics.psnr import foreground_psnr, psnr
from aligncvc.models.generators.wonder3d.network import Condition, Wonder3D
from aligncvc.models.ledger.weights import load_weights
from aligncvc.models.pair import build_generator
from aligncvc.pretrain.fit import fit, psnr_scores, write_half
from aligncvc.pretrain.rings import Rings, around_ring, random_rigs, recoloured
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.views import composite
from aligncvc.streams import normal, seeded, torch_stream

DROP_TOKEN, DROP_LATENT = 0.10, 0.10
"""Shares of objects trained without the image token / the image latents (half of each: without both)."""
SCORED_OBJECTS, SCORED_STEPS = 16, 10
"""Held-out objects and DDIM steps of the scores on the way; the last one takes all objects and 50 steps."""
FINAL_STEPS = 50


@dataclass(frozen=True)
class Latents:
    """What the denoiser reads of O rings, as they are (index 0) and in a mirror (index 1), float16."""

    views: Tensor
    tokens: Tensor
    cameras: Tensor
    rig: list[int]

    def batch(self, size: int, draw: torch.Generator) -> tuple[Tensor, Condition]:
        """Clean latents (B, V, C, h, w) of random rigs, half of them mirrored, and their conditions."""
        rings, around = self.views.shape[:2]
        objects, starts, mirrored = random_rigs(size, rings, around, draw)
        mirror = mirrored.long()
        index = around_ring(starts, torch.tensor(self.rig), around, mirror)
        x0 = self.views[objects[:, None], index, mirror[:, None]].float()
        tokens = self.tokens[objects, starts, mirror].float()
        return x0, Condition(tokens, x0[:, 0], self.cameras.expand(size, -1, -1))


@torch.no_grad()
def encoded(generator: Wonder3D, rings: Rings, bf16: bool) -> Latents:
    """Encode every view of every ring (about 4 ms an image on two cores, 0.15 MB a ring)."""
    around = len(rings.cameras)
    everyone = torch.arange(around).expand(1, -1)
    rig = torch.tensor(rings.rig)[None]
    c2w = rings.posed(torch.zeros(1).long(), torch.zeros(1).long(), rig)[2].c2w.expand(2 * around, -1, -1, -1)
    views, tokens = [], []
    for i in track(range(len(rings.ids)), description="encoding"):
        rgba = rings.posed(torch.tensor([i]), torch.tensor([0]), everyone)[0][0]
        images = composite(rgba, 1.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            condition = generator.encode_condition(torch.cat([images, images.flip(-1)]), c2w)
        views.append(condition.latents.half().unflatten(0, (2, around)).transpose(0, 1))
        tokens.append(condition.tokens.half().unflatten(0, (2, around)).transpose(0, 1))
    return Latents(torch.stack(views), torch.stack(tokens), condition.cameras[0].float(), rings.rig)


def with_recoloured(rings: Rings, seed: int) -> Rings:
    """The rings, and each object's own look once more in other colours."""
    own = rings.select(rings.objects, looks=[0])
    draw = torch_stream(seed, "recoloured-looks")
    other = torch.stack(
        [(recoloured(ring[None].float() / 255, draw, 1.0)[0] * 255).round().byte() for ring in own.rgba]
    )
    return replace(
        rings,
        ids=rings.ids + [f"{name} recoloured" for name in own.ids],
        rgba=torch.cat([rings.rgba, other]),
        depth=torch.cat([rings.depth, own.depth]),
    )


def timesteps(count: int, generator: torch.Generator) -> Tensor:
    """(count,) of 0..999 with a density that grows with t: where noise is high the views are decided."""
    return (1000 * torch.rand(count, generator=generator).sqrt()).long().clamp_max(999)


def dropped(condition: Condition, generator: torch.Generator) -> Condition:
    """One uniform number an object decides what it goes without, as in Wonder3D: token, both or latents."""
    p = torch.rand(condition.tokens.shape[0], generator=generator)
    token = (p >= DROP_TOKEN).float().view(-1, 1, 1)
    latent = ((p < DROP_TOKEN / 2) | (p >= DROP_TOKEN / 2 + DROP_LATENT)).float().view(-1, 1, 1, 1)
    return Condition(condition.tokens * token, condition.latents * latent, condition.cameras)


@torch.no_grad()
def ddim(generator: Wonder3D, condition: Condition, noise: Tensor, steps: int, guidance: float) -> Tensor:
    """Deterministic DDIM from pure noise (B, V, C, h, w) to latents, `steps` even steps, for scores."""
    times = torch.linspace(999, 0, steps + 1).round().long()
    z = noise
    for now, after in pairwise(times):
        prediction = generator.predict(z, now.expand(len(z)), condition, guidance)
        z = generator.schedule.add_noise(prediction.x0, prediction.eps, after.expand(len(z)))
    return generator.predict(z, times[-1].expand(len(z)), condition, guidance).x0


@dataclass(frozen=True)
class HeldOut:
    """Fixed held-out rigs (O, V, 4, H, W), the input view first, and the noise that sampling starts from."""

    rgba: Tensor
    cameras: Cameras
    noise: Tensor

    @staticmethod
    def of(rings: Rings, count: int, generator: Wonder3D, root_seed: int) -> HeldOut:
        rgba, cameras = rings.fixed(count, rings.rig, root_seed)
        shape = (len(rgba), *generator.latent_shape(len(rings.rig)))
        return HeldOut(rgba, cameras, normal(shape, root_seed, "unet-score"))

    @property
    def images(self) -> Tensor:
        return composite(self.rgba, 1.0)

    @torch.no_grad()
    def sampled(self, generator: Wonder3D, steps: int, guidance: float) -> Tensor:
        """Views (O, V, 3, H, W) in [0, 1]: DDIM samples; with 0 steps the x0 seen from pure noise."""
        views = []
        cases = (self.images[:, 0], self.cameras.c2w, self.noise)
        for images, c2w, noise in zip(*(case.split(8) for case in cases), strict=True):
            condition = generator.encode_condition(images, c2w)
            views.append(generator.decode(ddim(generator, condition, noise, steps, guidance)).clamp(0, 1))
        return torch.cat(views)

    @torch.no_grad()
    def x0_errors(self, generator: Wonder3D) -> dict[str, float]:
        images = self.images
        condition = generator.encode_condition(images[:, 0], self.cameras.c2w)
        x0 = generator.encode(images)
        result = {}
        for t in (999, 749, 499, 249):
            times = torch.full((len(x0),), t)
            noisy = generator.schedule.add_noise(x0, self.noise, times)
            x0_hat = generator.predict(noisy, times, condition).x0
            result[f"x0_mse_{t}"] = float((x0_hat - x0).square().mean())
        return result

    @torch.no_grad()
    def score(self, generator: Wonder3D, steps: int, guidance: float) -> dict[str, float]:
        """PSNR and foreground PSNR of the unseen views and of the front one, with baselines.

        sample: DDIM; mean: the x0 seen from pure noise; copy: the front view in place of the others; ceiling:
        the VAE's round trip. *_over_copy_se: standard error of the sample's advantage over the copy.
        """
        images, alpha = self.images, self.rgba[:, 1:, 3:]
        others = images[:, 1:]
        sample, copy = self.sampled(generator, steps, guidance), images[:, :1].expand_as(others)
        views = {
            "sample": sample[:, 1:],
            "mean": self.sampled(generator, 0, 1.0)[:, 1:],
            "copy": copy,
            "ceiling": generator.decode(generator.encode(images)).clamp(0, 1)[:, 1:],
        }
        result: dict[str, float] = {}
        for name, image in views.items():
            result |= psnr_scores(name, image, others, alpha)
        result["front_psnr"] = float(psnr(sample[:, :1], images[:, :1]).mean())
        gains = {
            "psnr": psnr(sample[:, 1:], others).mean(1) - psnr(copy, others).mean(1),
            "fg_psnr": foreground_psnr(sample[:, 1:], others, alpha).mean(1)
            - foreground_psnr(copy, others, alpha).mean(1),
        }
        for name, gain in gains.items():
            result[f"{name}_over_copy"] = float(gain.mean())
            result[f"{name}_over_copy_se"] = float(gain.std() / len(gain) ** 0.5)
        return result


def train(
    job: PretrainJob, rings: Rings, held_out: Rings, out: Path, vae: Path, start_from: Path | None = None
) -> None:
    """Write the denoiser's weights to `out`. start_from: weights to go on from with a new optimiser."""
    seed, settings = job.seed, job.training
    generator = seeded(
        lambda: build_generator(job.model, job.size_px, job.checkpoints), seed, "pretrain-unet"
    )
    if not isinstance(generator, Wonder3D):
        raise UserError(
            f"the teacher is trained on Wonder3D's condition, and the first pair's generator is of kind "
            f"{job.model.kind}; put a pair with a generator of kind wonder3d first"
        )
    given = {"vae": vae} | ({"unet": start_from} if start_from else {})
    for part, path in given.items():
        load_weights(generator.parts()[part], path, job.model, job.checkpoints)
    epsilon = generator.config.unet.prediction == "epsilon"
    latents = encoded(generator, with_recoloured(rings, seed), settings.bf16)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(seed, "unet", step)
        x0, condition = latents.batch(settings.batch, draw)
        condition = dropped(condition, draw)
        noise = torch.randn(x0.shape, generator=draw)
        t = timesteps(settings.batch, draw)
        z_t = generator.schedule.add_noise(x0, noise, t)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            raw = generator.raw_prediction(z_t, t, condition)
        signal, sigma = generator.schedule.signal_noise(t)
        target = noise if epsilon else signal * noise - sigma * x0
        return {"total": (raw.float() - target).square().mean()}

    def score(objects: int = SCORED_OBJECTS, steps: int = SCORED_STEPS) -> dict[str, float]:
        result: dict[str, float] = {}
        for name, views in held_out.by_look().items():
            cases = HeldOut.of(views, objects, generator, seed)
            scores = cases.score(generator, steps, job.guidance) | cases.x0_errors(generator)
            result |= {f"{name}_{k}": v for k, v in scores.items()}
        return result

    inputs = [rings.ids, {part: sha256_file(path) for part, path in given.items()}]
    unet = generator.parts()["unet"]
    fit(job, unet, out, inputs, loss, score)
    write_half(job, out, unet, score(len(held_out.ids), FINAL_STEPS))
