"""Scores of a generator's samples on held-out rigs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aligncvc.metrics.psnr import foreground_psnr, psnr
from aligncvc.models.generators.base import MultiViewGenerator, Tree
from aligncvc.pretrain.fit import psnr_scores
from aligncvc.pretrain.rings import Rings
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.views import composite
from aligncvc.streams import normal

SCORED_AT = (999, 749, 499, 249)
"""Timesteps at which errors of predicted clean latents are measured."""


@torch.no_grad()
def ddim(
    generator: MultiViewGenerator, condition: Tree, noise: Tensor, steps: int, guidance: float
) -> Tensor:
    """From pure noise (B, V, C, h, w) to clean latents in the schedule's own steps; 0: x0 seen from noise."""
    times = generator.schedule.times(max(steps, 1))
    z = generator.schedule.start(noise, times[0])
    for i in range(len(times)):
        now, *after = (
            torch.full((len(z),), time, dtype=generator.schedule.dtype) for time in times[i : i + 2]
        )
        prediction = generator.predict(z, now, condition, guidance)
        z = generator.schedule.step(z, prediction.x0, prediction.eps, now, after[0] if after else None)
    return z


@dataclass(frozen=True)
class HeldOut:
    """Fixed held-out rigs (O, V, 4, H, W), the input view first, and the noise that sampling starts from."""

    rgba: Tensor
    cameras: Cameras
    noise: Tensor

    @staticmethod
    def of(rings: Rings, count: int, generator: MultiViewGenerator, root_seed: int) -> HeldOut:
        rgba, cameras = rings.fixed(count, rings.rig, root_seed)
        shape = (len(rgba), *generator.latent_shape(len(rings.rig)))
        return HeldOut(rgba, cameras, normal(shape, root_seed, "unet-score"))

    @property
    def images(self) -> Tensor:
        return composite(self.rgba, 1.0)

    @torch.no_grad()
    def sampled(self, generator: MultiViewGenerator, steps: int, guidance: float) -> Tensor:
        """Views (O, V, 3, H, W) in [0, 1]: DDIM samples; with 0 steps the x0 seen from pure noise."""
        views = []
        cases = (self.images[:, 0], self.cameras.c2w, self.noise)
        for images, c2w, noise in zip(*(case.split(8) for case in cases), strict=True):
            condition = generator.encode_condition(images, c2w)
            views.append(generator.decode(ddim(generator, condition, noise, steps, guidance)).clamp(0, 1))
        return torch.cat(views)

    @torch.no_grad()
    def x0_errors(self, generator: MultiViewGenerator) -> dict[str, float]:
        images = self.images
        condition = generator.encode_condition(images[:, 0], self.cameras.c2w)
        x0 = generator.encode(images)
        result = {}
        for t in SCORED_AT:
            times = generator.schedule.like(torch.full((len(x0),), t))
            noisy = generator.schedule.add_noise(x0, self.noise, times)
            x0_hat = generator.predict(noisy, times, condition).x0
            result[f"x0_mse_{t}"] = float((x0_hat - x0).square().mean())
        return result

    @torch.no_grad()
    def score(self, generator: MultiViewGenerator, steps: int, guidance: float) -> dict[str, float]:
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
