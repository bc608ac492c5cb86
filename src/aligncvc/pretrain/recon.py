"""The demo's reconstructor, trained on ground-truth rigs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.cameras import Cameras
from aligncvc.config import Config
from aligncvc.encoders import load_lpips
from aligncvc.metrics import foreground_psnr, psnr
from aligncvc.pair import seeded
from aligncvc.pretrain.data import Rings
from aligncvc.pretrain.fit import Run, fit, write_half
from aligncvc.recon import build_reconstructor
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream
from aligncvc.views import composite

TARGET_VIEWS = 4
LPIPS_WEIGHT = 0.05


def train(config: Config, rings: Rings, held_out: Rings, out: Path) -> None:
    """Write the reconstructor's weights to `out` (safetensors)."""
    settings = config.pretrain
    model = seeded(lambda: build_reconstructor(config.recon), config.seed, "pretrain-recon")
    perceptual = load_lpips("alex")

    def loss(step: int) -> dict[str, Tensor]:
        batch = rings.batch(settings.batch, TARGET_VIEWS, torch_stream(config.seed, "recon", step))
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            gaussians = model(batch.images, batch.cameras)
        rendering = rasterise(gaussians, batch.target_cameras, background=1.0)
        target = composite(batch.target_rgba, 1.0)
        terms = {
            "mse": F.mse_loss(rendering.rgb, target),
            "alpha": F.mse_loss(rendering.alpha, batch.target_rgba[:, :, 3:]),
            "lpips": perceptual(rendering.rgb.flatten(0, 1) * 2 - 1, target.flatten(0, 1) * 2 - 1).mean(),
        }
        return {"total": terms["mse"] + terms["alpha"] + LPIPS_WEIGHT * terms["lpips"], **terms}

    ring = len(held_out.cameras)
    between = [(held_out.rig[1] * k + held_out.rig[1] // 2) % ring for k in range(len(held_out.rig))]
    objects, starts, offsets = held_out.fixed(48, held_out.rig + between, config.seed)
    rgba, cameras = held_out.posed(objects, starts, offsets)
    views = len(held_out.rig)
    images, target, alpha = (
        composite(rgba[:, :views], 1.0),
        composite(rgba[:, views:], 1.0),
        rgba[:, views:, 3:],
    )

    def cameras_of(first: int, which: slice) -> Cameras:
        return replace(cameras, c2w=cameras.c2w[first : first + 8, which])

    @torch.no_grad()
    def score() -> dict[str, float]:
        """Held out: four ground-truth views in, the ring views midway between them out; all-white beside."""
        rendered = []
        for i in range(0, len(images), 8):
            gaussians = model(images[i : i + 8], cameras_of(i, slice(0, views)))
            rendered.append(rasterise(gaussians, cameras_of(i, slice(views, None))).rgb)
        scores = {}
        for name, result in (("midway", torch.cat(rendered)), ("white", torch.ones_like(target))):
            scores[f"{name}_psnr"] = float(psnr(result, target).mean())
            scores[f"{name}_fg_psnr"] = float(foreground_psnr(result, target, alpha).mean())
        return scores

    run = Run.of("recon", settings.recon_steps, out, [config.recon.model_dump(), settings.model_dump()])
    fit(run, model, loss, score, settings)
    write_half(out, model, network="LGM", steps=settings.recon_steps, **score())
