"""The demo's AutoencoderKL, trained on single views; its latents come out whitened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligncvc.config import Config
from aligncvc.encoders import load_lpips
from aligncvc.metrics import psnr
from aligncvc.mvg import build_generator
from aligncvc.pair import seeded
from aligncvc.pretrain.data import Rings
from aligncvc.pretrain.fit import Run, fit, write_half
from aligncvc.streams import torch_stream
from aligncvc.views import composite

KL_WEIGHT = 1e-6
LPIPS_WEIGHT = 0.1


def whiten(vae: Any, latents: Tensor) -> None:
    """Fold into an AutoencoderKL the latents' mean and standard deviation (per channel of (N, C, h, w)),
    by way of its 1x1 convolutions.

    Afterwards encoding gives zero mean and unit variance and decoding undoes it, so that the weights
    alone say everything and scaling_factor is 1.
    """
    channels = latents.shape[1]
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    with torch.no_grad():
        out_of, into = vae.quant_conv, vae.post_quant_conv
        out_of.weight[:channels] /= std.view(-1, 1, 1, 1)
        out_of.bias[:channels] = (out_of.bias[:channels] - mean) / std
        out_of.bias[channels:] -= 2 * std.log()
        into.bias += (into.weight[:, :, 0, 0] * mean).sum(1)
        into.weight *= std.view(1, -1, 1, 1)


def train(config: Config, rings: Rings, held_out: Rings, out: Path) -> None:
    """Write the VAE's weights to `out` (safetensors, AutoencoderKL's own keys)."""
    settings = config.pretrain
    generator = seeded(
        lambda: build_generator(config.mvg, config.render.size_px), config.seed, "pretrain-vae"
    )
    vae = generator.vae.requires_grad_(True)
    perceptual = load_lpips("alex")
    count = settings.batch * len(rings.rig)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(config.seed, "vae", step)
        images = composite(rings.batch(count, 1, draw).target_rgba[:, 0], 1.0) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            posterior = vae.encode(images).latent_dist
            decoded = vae.decode(posterior.sample(draw)).sample
        decoded = decoded.float()
        terms = {
            "l1": (decoded - images).abs().mean(),
            "mse": (decoded - images).square().mean(),
            "lpips": perceptual(decoded, images).mean(),
            "kl": posterior.kl().float().mean(),
        }
        total = terms["l1"] + terms["mse"] + LPIPS_WEIGHT * terms["lpips"] + KL_WEIGHT * terms["kl"]
        return {"total": total, **terms}

    objects, starts, offsets = held_out.fixed(48, [0], config.seed)
    reference = composite(held_out.posed(objects, starts, offsets)[0], 1.0)

    @torch.no_grad()
    def score() -> dict[str, float]:
        """Held-out round trip: the ceiling of every generated view."""
        return {
            "round_trip_psnr": float(psnr(generator.decode(generator.encode(reference)), reference).mean())
        }

    run = Run.of("vae", settings.vae_steps, out, [config.mvg.model_dump(), settings.model_dump()])
    fit(run, vae, loss, score, settings)
    with torch.no_grad():
        sample = rings.batch(256, 1, torch_stream(config.seed, "vae-statistics")).target_rgba
        whiten(vae, generator.encode(composite(sample, 1.0))[:, 0])
    write_half(out, vae, network="AutoencoderKL", steps=settings.vae_steps, **score())
