"""The demo's AutoencoderKL, trained on single views; its latents come out whitened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligncvc.config.jobs.pretrain import PretrainJob
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.pair import build_generator
from aligncvc.pretrain.fit import fit, psnr_scores, write_half
from aligncvc.pretrain.rings import Rings
from aligncvc.scene.views import composite
from aligncvc.streams import seeded, torch_stream

KL_WEIGHT = 1e-6
LPIPS_WEIGHT = 0.1
RECOLOURED = 0.7
"""Share of recoloured views: the colours of furniture alone do not teach colour."""
CHROMA_FIRST, CHROMA_HALVING = 150.0, 384
CHROMA_PHASES = ((600, None), (1000, 4.0), (None, 25.0))
"""Weight of the squared chroma error beside 1 for brightness, by (last step, weight); None: it falls from
CHROMA_FIRST by half every CHROMA_HALVING steps. Without it all channels go to brightness, which has nearly
all of the error at first; with 4 for good, only one of the two axes of chroma is kept."""


def chroma(images: Tensor) -> Tensor:
    """(..., 3, H, W): what remains of colours without their grey."""
    return images - images.mean(-3, keepdim=True)


def chroma_weight(step: int) -> float:
    """How much colour weighs in the loss at a step."""
    weight = next(weight for end, weight in CHROMA_PHASES if end is None or step < end)
    return CHROMA_FIRST * 0.5 ** (step / CHROMA_HALVING) if weight is None else weight


def chroma_error(images: Tensor, reference: Tensor) -> float:
    """Root mean square chroma error over the reference's own; 1 for a grey copy."""
    error = chroma(images - reference).square().mean().sqrt()
    return float(error / chroma(reference).square().mean().sqrt())


def whiten(vae: Any, latents: Tensor) -> None:
    """Fold the latents' (N, C, h, w) mean and deviation into the 1x1 convolutions of an AutoencoderKL."""
    channels = latents.shape[1]
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    with torch.no_grad():
        out_of, into = vae.quant_conv, vae.post_quant_conv
        out_of.weight[:channels] /= std.view(-1, 1, 1, 1)
        out_of.bias[:channels] = (out_of.bias[:channels] - mean) / std
        out_of.bias[channels:] -= 2 * std.log()
        into.bias += (into.weight[:, :, 0, 0] * mean).sum(1)
        into.weight *= std.view(1, -1, 1, 1)


def train(job: PretrainJob, rings: Rings, held_out: Rings, out: Path) -> None:
    """Train the demo's VAE on renders and write its weights into `out`; goes on after a stop."""
    seed, settings = job.seed, job.training
    generator = seeded(lambda: build_generator(job.model, job.size_px, job.checkpoints), seed, "pretrain-vae")
    vae: Any = generator.parts()["vae"].requires_grad_(True)
    perceptual = load_lpips("alex", job.checkpoints)

    def images_of(count: int, draw: torch.Generator) -> Tensor:
        return composite(rings.batch(count, 1, draw, RECOLOURED).target_rgba[:, 0], 1.0)

    def loss(step: int) -> dict[str, Tensor]:
        draw = torch_stream(seed, "vae", step)
        images = images_of(settings.batch, draw) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            posterior = vae.encode(images).latent_dist
            decoded = vae.decode(posterior.sample(draw)).sample
        decoded = decoded.float()
        error = decoded - images
        terms = {
            "l1": error.abs().mean(),
            "mse": error.square().mean(),
            "chroma": chroma(error).square().mean(),
            "lpips": perceptual(decoded, images).mean(),
            "kl": posterior.kl().float().mean(),
        }
        total = terms["l1"] + terms["mse"] + chroma_weight(step) * terms["chroma"]
        return {"total": total + LPIPS_WEIGHT * terms["lpips"] + KL_WEIGHT * terms["kl"], **terms}

    references = {name: views.fixed(64, [0], seed)[0] for name, views in held_out.by_look().items()}

    @torch.no_grad()
    def score() -> dict[str, float]:
        result: dict[str, float] = {}
        for name, rgba in references.items():
            reference = composite(rgba, 1.0)
            copy = generator.decode(generator.encode(reference)).clamp(0, 1)
            result |= psnr_scores(name, copy, reference, rgba[:, :, 3:])
            result[f"{name}_chroma_error"] = chroma_error(copy, reference)
        return result

    fit(job, vae, out, rings.ids, loss, score)
    with torch.no_grad():
        sample = images_of(512, torch_stream(seed, "vae-statistics"))[:, None]
        whiten(vae, generator.encode(sample)[:, 0])
    write_half(job, out, vae, score())
