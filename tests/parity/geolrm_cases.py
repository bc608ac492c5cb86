"""The cases in which GeoLRM is compared with its official code, and what ours yields in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from parity_tools import fill, numbers
from torch import Tensor, nn

from aligncvc.models.reconstructors.geolrm.frames import project, rays
from aligncvc.models.reconstructors.geolrm.network import GeoLRM
from aligncvc.models.reconstructors.geolrm.settings import PRESETS, Settings
from aligncvc.scene.camera_formats import from_opengl
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians

REDUCED: dict[str, Any] = {
    "size_px": 56,
    "backbone": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 14,
        "image_size": 70,
    },
    "features": 20,
    "grid": 8,
    "cell": 2,
    "points": 3,
    "proposal": {"dim": 48, "layers": 2, "heads": 4, "feed_forward": 256},
    "reconstruction": {"dim": 96, "layers": 2, "heads": 4, "feed_forward": 256},
    "max_tokens": 512,
    "gaussians_per_token": 2,
    "offset_max": 0.2,
    "scale_max": 0.02,
    "radius": 1.5,
}
"""Both head widths' kinds (12 and 24 numbers), positions that are resized, as many tokens as voxels."""
FORMS: dict[str, dict[str, Any]] = {
    "trained": {"self_attention": "heads", "positions": "offset", "rope_scale": 0.5},
    "between tokens": {"self_attention": "tokens", "positions": "size", "rope_scale": 1.0},
}
"""The switches of the networks, each in both its forms."""
FULL: dict[str, Any] = {
    **PRESETS["base"],
    **FORMS["trained"],
    "size_px": 112,
    "max_tokens": 256,
    "tokens": "shuffled",
    "radius": 1.5,
}
"""The published widths, on small views and few tokens."""
RADIUS, FOV_DEG = 1.5, 39.6
VIEWS = [0, 4, 9]
"""Those of SV3D's 21 cameras that are seen."""
KEPT = 5
"""Every so many Gaussians are kept as facts."""


def reduced(form: str) -> dict[str, Any]:
    return {**REDUCED, **FORMS[form]}


@torch.no_grad()
def fill_all(module: nn.Module) -> None:
    """`fill`, then statistics of batch norms, and what `fill` makes too small for it to matter."""
    fill(module)
    for name, parameter in module.named_parameters():
        if name.endswith(("lambda1", "position_embeddings", "cls_token", "query_token")):
            values = numbers(name, tuple(parameter.shape))
            parameter.copy_(1 + 0.1 * values if name.endswith("lambda1") else 0.5 * values)
    for name, part in module.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(0.2 * numbers(f"{name}.mean", tuple(part.running_mean.shape)))
            part.running_var.copy_(1 + 0.4 * numbers(f"{name}.var", tuple(part.running_var.shape)))


def our_model(settings: Mapping[str, Any]) -> GeoLRM:
    """Ours with weights by formula; the names of each network's begin behind its prefix."""
    model = GeoLRM(Settings.model_validate(settings)).eval()
    fill_all(model.serializer)
    fill_all(model.lrm_generator)
    return model


def views(side: int, batch: int = 2) -> Tensor:
    """(B, V, 3, H, W) in [0, 1]."""
    return 0.5 + 0.25 * numbers(f"geolrm views {side}", (batch, len(VIEWS), 3, side, side))


def our_cameras(c2w: Tensor, side: int, batch: int = 2) -> Cameras:
    """Official poses (V, 4, 4): OpenGL axes, z up."""
    poses = from_opengl(c2w)[None].expand(batch, -1, -1, -1)
    return Cameras(poses, FOV_DEG, side, side)


def points(count: int) -> Tensor:
    """(1, S, 3) in the box."""
    return 0.28 * numbers("geolrm points", (1, count, 3))


def channels(gaussians: Gaussians) -> Tensor:
    """(B, N, 14) in the official order."""
    g = gaussians
    return torch.cat([g.means, g.opacities[..., None], g.scales, g.quats, g.colors], -1)


@torch.no_grad()
def our_values(
    model: GeoLRM, c2w: Tensor, batch: int = 2, tokens: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """What each part of ours yields: features of the reconstruction, logits, Gaussians of its own tokens.

    tokens: (S, 3) of each object, in the place of those that follow from the logits.
    """
    side = model.config.size_px
    images, cameras = views(side, batch).to(c2w), our_cameras(c2w, side, batch)
    pixels = (images - model.mean) / model.std
    features, _ = model.lrm_generator.encoder(pixels, rays(cameras))
    found = model(images, cameras) if tokens is None else model.lrm_generator(pixels, cameras, tokens)
    return {
        "features": features,
        "logits": model.serializer(pixels, cameras),
        "gaussians": channels(found),
    }


def our_geometry(c2w: Tensor, side: int) -> dict[str, Tensor]:
    """Rays (V, 6, H, W) and where points fall (V, S, 2)."""
    cameras = our_cameras(c2w, side, 1)
    return {"rays": rays(cameras)[0], "projected": project(cameras, points(50))[0]}
