"""A reconstructor, trained on ground-truth rigs and on what a generator makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.files import sha256_file
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.generators.base import MultiViewGenerator
from aligncvc.models.pair import build_reconstructor
from aligncvc.models.reconstructors.base import ProposesVoxels
from aligncvc.pretrain.fit import begin_with, fit, generator_with, psnr_scores, write_half
from aligncvc.pretrain.occupancy import proposal_loss
from aligncvc.pretrain.rings import Rings
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import composite
from aligncvc.splat import rasterise
from aligncvc.streams import seeded, torch_stream
from aligncvc.training import decay_progress

TARGET_VIEWS = 3
"""Views drawn from the ring, beside two of the rig."""
RECOLOURED = 0.3
"""Share of recoloured objects, beside the looks that were rendered."""
FOREGROUND_WEIGHT = 1.0
"""Added to the weight of the squared error where the target shows the object: most of a view is canvas."""
LPIPS_WEIGHT, LPIPS_FROM = 0.1, 0.5
"""The weight that LPIPS reaches, and the share of the rate's decay after which it comes in: early on it only
slows the squared error down."""
DEPTH_WEIGHT, DEPTH_STEPS = 1.0, 2000
"""Weight of the supervision by rendered depth and alpha at the first step, and its halving time in steps."""
FEWER_VIEWS = 0.25
"""Share of steps with two or three of the rig's views, so that it also judges halves of a rig."""
ROUND_TRIPS, GENERATED = 0.2, 0.3
"""Shares of objects whose input views went through the VAE, or are what the generator predicts of them."""
SOFT_VIEWS, NOISY_VIEWS, MAX_NOISE = 0.1, 0.1, 0.04
"""Shares of the other objects whose input views are blurred or noisy."""
GENERATED_AT = (999, 749, 599, 299)
"""Timesteps that the generator predicts at: those of four steps, as the reconstructor meets them."""


def input_views(views: int, generator: torch.Generator) -> list[int]:
    """Indices of the rig's views that the networks see this step, in order."""
    fewer, order = float(torch.rand((), generator=generator)), torch.randperm(views, generator=generator)
    count = views if fewer >= FEWER_VIEWS or views < 3 else 2 + int(fewer < FEWER_VIEWS / 3)
    return sorted(order[:count].tolist())


@torch.no_grad()
def as_generated(
    generator: MultiViewGenerator, images: Tensor, cameras: Cameras, guidance: float, draw: torch.Generator
) -> Tensor:
    """Rigs (B, V, 3, H, W) in [0, 1], some as the VAE returns them, some as the generator predicts them.

    Where they are predicted, the input view stays: it is known.
    """
    which = torch.rand(len(images), generator=draw)
    copied, predicted = which < ROUND_TRIPS, (which >= ROUND_TRIPS) & (which < ROUND_TRIPS + GENERATED)
    at = torch.tensor(GENERATED_AT)[torch.randint(len(GENERATED_AT), (len(images),), generator=draw)]
    noise = torch.randn((len(images), *generator.latent_shape(images.shape[1])), generator=draw)
    changed = copied | predicted
    if not changed.any():
        return images
    latents = generator.encode(images[changed])
    among = predicted[changed]
    if among.any():
        given, c2w = images[predicted], cameras.c2w[predicted]
        t = generator.schedule.like(at[predicted])
        z_t = generator.schedule.add_noise(latents[among], noise[predicted], t)
        condition = generator.encode_condition(given[:, 0], c2w)
        latents[among] = generator.predict(z_t, t, condition, guidance).x0.to(latents.dtype)
    out = images.clone()
    out[changed] = generator.decode(latents).clamp(0, 1).to(images.dtype)
    out[predicted, 0] = images[predicted, 0]
    return out


def degraded(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur (to half the size and back) or noise for some objects of (B, V, 3, H, W) in [0, 1]."""
    out = images.clone()
    for i in range(images.shape[0]):
        which, strength = torch.rand(2, generator=generator).tolist()
        noise = torch.randn(images[i].shape, generator=generator)
        if which < SOFT_VIEWS:
            small = F.avg_pool2d(images[i], 2)
            soft = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
            out[i] = images[i] + strength * (soft - images[i])
        elif which < SOFT_VIEWS + NOISY_VIEWS:
            out[i] = (images[i] + MAX_NOISE * strength * noise).clamp(0, 1)
    return out


def surface_loss(gaussians: Gaussians, cameras: Cameras, alpha: Tensor, depth: Tensor) -> dict[str, Tensor]:
    """Distances of the Gaussians from the input views' depth (B, V, H, W), and opacities from alpha."""
    means = gaussians.means.reshape(*depth.shape, 3)
    forward = cameras.c2w[..., :3, 2]
    offset = means - cameras.positions[:, :, None, None]
    z = (offset * forward[:, :, None, None]).sum(-1)
    seen = ((alpha[:, :, 0] > 0.5) & (depth > 0)).float()
    error = F.smooth_l1_loss(z, depth, beta=0.1, reduction="none")
    opacity = gaussians.opacities.reshape(depth.shape)
    return {
        "depth": (error * seen).sum() / seen.sum().clamp_min(1),
        "opacity": (opacity - alpha[:, :, 0]).square().mean(),
    }


@dataclass(frozen=True)
class HeldOut:
    """Fixed held-out cases: rgba (O, 2 V, 4, H, W), the rig's V views, then those midway."""

    rgba: Tensor
    cameras: Cameras
    views: int

    @staticmethod
    def of(rings: Rings, count: int, root_seed: int) -> HeldOut:
        between = [(k + rings.rig[1] // 2) % len(rings.cameras) for k in rings.rig]
        return HeldOut(*rings.fixed(count, rings.rig + between, root_seed), len(rings.rig))

    def rendered(self, model: nn.Module, inputs: list[int]) -> Tensor:
        """All views (O, 2 V, 3, H, W) of reconstructions from the rig's views `inputs`."""
        images = composite(self.rgba[:, inputs], 1.0)
        everything = []
        for i in range(0, len(images), 8):
            cameras = replace(self.cameras, c2w=self.cameras.c2w[i : i + 8])
            everything.append(rasterise(model(images[i : i + 8], cameras[inputs]), cameras).rgb)
        return torch.cat(everything)

    @torch.no_grad()
    def score(self, model: nn.Module) -> dict[str, float]:
        """PSNR and foreground PSNR: midway from the whole rig, its own views, midway from two; baselines."""
        truth, alpha = composite(self.rgba, 1.0), self.rgba[:, :, 3:]
        own, midway = list(range(self.views)), list(range(self.views, 2 * self.views))
        whole, from_two = (self.rendered(model, inputs) for inputs in (own, [0, self.views // 2]))
        results = {
            "midway": (whole, midway),
            "own": (whole, own),
            "midway_from_two": (from_two, midway),
            "white": (torch.ones_like(truth), midway),
            "copy_front": (truth[:, :1].expand_as(truth), midway),
        }
        scores: dict[str, float] = {}
        for name, (images, which) in results.items():
            scores |= psnr_scores(name, images[:, which], truth[:, which], alpha[:, which])
        return scores


def train(
    job: PretrainJob, rings: Rings, held_out: Rings, out: Path, given: Mapping[str, Path] | None = None
) -> None:
    """Train a reconstructor on renders and write its weights into `out`; goes on after a stop.

    given: files of the generator's parts. Without a generator in the job, views are true ones.
    """
    seed, settings, given = job.seed, job.training, dict(given or {})
    model = seeded(lambda: build_reconstructor(job.model), seed, "pretrain-recon")
    if remark := begin_with(model, job):
        print(remark, flush=True)
    generator = generator_with(job.generator, job, given, "pretrain-unet") if job.generator else None
    if generator is not None:
        generator.requires_grad_(False).eval()
    perceptual = load_lpips("alex", job.checkpoints)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(seed, "recon", step)
        batch = rings.batch(settings.batch, TARGET_VIEWS, draw, RECOLOURED)
        views = batch.images.shape[1]
        chosen = input_views(views, draw)
        cameras = batch.cameras[chosen]
        own = [0, int(torch.randint(views, (), generator=draw))]  # what was shown must come back
        proposed: dict[str, Tensor] = {}
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            images = batch.images
            if generator is not None:
                images = as_generated(generator, images, batch.cameras, job.guidance, draw)
            images = degraded(images[:, chosen], draw)
            gaussians = model(images, cameras)
            if isinstance(model, ProposesVoxels):
                depth = torch.cat([batch.depth, batch.target_depth], 1)
                c2w = torch.cat([batch.cameras.c2w, batch.target_cameras.c2w], 1)
                proposed["voxels"] = proposal_loss(model, images, cameras, depth, replace(cameras, c2w=c2w))
        target_cameras = replace(
            batch.target_cameras, c2w=torch.cat([batch.cameras[own].c2w, batch.target_cameras.c2w], 1)
        )
        rendering = rasterise(gaussians, target_cameras, background=1.0)
        target = torch.cat([batch.images[:, own], composite(batch.target_rgba, 1.0)], 1)
        alpha = torch.cat([batch.alpha[:, own], batch.target_rgba[:, :, 3:]], 1)
        error = (rendering.rgb - target).square()
        terms = {
            "mse": error.mean(),
            "foreground": (error * alpha).mean(),
            "alpha": F.mse_loss(rendering.alpha, alpha),
            **proposed,
        }
        total = terms["mse"] + FOREGROUND_WEIGHT * terms["foreground"] + terms["alpha"]
        total = total + sum(proposed.values())
        if gaussians.means.shape[1] == batch.depth[:, chosen][0].numel():
            terms |= surface_loss(gaussians, cameras, batch.alpha[:, chosen], batch.depth[:, chosen])
            surface = terms["depth"] + 0.1 * terms["opacity"]
            total = total + DEPTH_WEIGHT * 0.5 ** (step / DEPTH_STEPS) * surface
        if decay_progress(step, settings.steps) > LPIPS_FROM:
            distance = perceptual(rendering.rgb.flatten(0, 1) * 2 - 1, target.flatten(0, 1) * 2 - 1)
            terms["lpips"] = distance.mean()
            total = total + LPIPS_WEIGHT * terms["lpips"]
        return {"total": total, **terms}

    cases = {name: HeldOut.of(views, 48, seed) for name, views in held_out.by_look().items()}

    def score() -> dict[str, float]:
        return {f"{name}_{k}": v for name, case in cases.items() for k, v in case.score(model).items()}

    inputs = [rings.ids, {part: sha256_file(path) for part, path in given.items()}]
    fit(job, model, out, inputs, loss, score)
    write_half(job, out, model, score())
