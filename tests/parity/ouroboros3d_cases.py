"""The cases in which Ouroboros3D's generator meets its official code, and what ours yields in them."""

from __future__ import annotations

from typing import Any

import torch
from parity_tools import fill, numbers
from torch import Tensor

from aligncvc.models.generators.ouroboros3d.network import Condition, Ouroboros3D
from aligncvc.models.generators.ouroboros3d.rays import harmonics, plucker
from aligncvc.models.generators.ouroboros3d.settings import PRESETS, Settings
from aligncvc.models.generators.parts import Clip, Vae, VideoUnet

CHANNELS, HEAD_CHANNELS, TOKEN_DIM = [32, 64, 96, 96], 16, 24
SIZE_PX, FACTOR = 64, 8
PUBLISHED_PX, PUBLISHED_VIEWS = 128, [0, 7]
VIEWS = [0, 1, 3, 7]
"""Of the released rig of eight, in the comparison of the network."""
RAYS_SIDE, MAPS_SIDE = 4, 12
TIMESTEPS = (1.2, -0.7)
"""ln(sigma) / 4: sigma 121 and 0.06."""
GUIDANCE = 3.0
PUBLISHED_UNET = {
    "num_attention_heads": (5, 10, 20, 20), "projection_class_embeddings_input_dim": 768,
    "cross_attention_dim": 1024,
}  # fmt: skip


def reduced(**quirks: Any) -> Settings:
    """Ouroboros3D at a small width: every kind of block, pixels folded as in the release."""
    return Settings(
        vae=Vae(channels=[8, 16, 16, 16], norm_groups=4),
        unet=VideoUnet(
            channels=CHANNELS, layers=2, head_channels=HEAD_CHANNELS, even_norms=False,
            attention=[True, True, True, False],
        ),
        image_encoder="clip",
        clip=Clip(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=8,
            image_size=32, projection_dim=TOKEN_DIM,
        ),
        size_px=SIZE_PX, **quirks,
    )  # fmt: skip


REDUCED_UNET = {
    "block_out_channels": tuple(CHANNELS), "projection_class_embeddings_input_dim": 768,
    "num_attention_heads": tuple(c // HEAD_CHANNELS for c in CHANNELS), "cross_attention_dim": TOKEN_DIM,
}  # fmt: skip


def published() -> Settings:
    return Settings.model_validate(PRESETS["released"])


def ours(config: Settings) -> Ouroboros3D:
    """Our generator, its U-Net and what belongs to it filled by formula."""
    generator = Ouroboros3D(config, SIZE_PX).eval().requires_grad_(False)
    fill(generator.unet)
    return generator


def inputs(c2w: Tensor, size_px: int = SIZE_PX, token_dim: int = TOKEN_DIM, batch: int = 2) -> tuple:
    """(z, timesteps, condition) of one call of our generator, by formula. c2w (V, 4, 4): in its world."""
    views, side = len(c2w), size_px // FACTOR
    maps = (batch, views, 3, size_px, size_px)
    condition = Condition(
        numbers("ouroboros3d token", (batch, 1, token_dim)),
        numbers("ouroboros3d condition", (batch, 4, side, side)),
        c2w.expand(batch, -1, -1, -1),
        numbers("ouroboros3d renderings", maps) / 12**0.5 + 0.5,
        numbers("ouroboros3d coordinates", maps) / 12**0.5 + 0.5,
    )
    z = numbers("ouroboros3d z", (batch, views, 4, side, side))
    t = torch.tensor(TIMESTEPS[:batch])
    return z * (1 + (8 * t).exp()).sqrt().view(-1, 1, 1, 1, 1), t, condition


def reference_call(z: Tensor, t: Tensor, condition: Condition, intrinsics: Tensor) -> tuple:
    """The official network's arguments for the same call; intrinsics (3, 3), shares of the image's side."""
    batch, views = z.shape[:2]
    clean = condition.latents[:, None].expand_as(z)
    told = torch.tensor([6, 127, 0.02]).expand(batch, -1)
    cameras = {"intrinsics": intrinsics.expand(batch, views, 3, 3), "extrinsics": condition.c2w}
    maps = [condition.renderings, condition.coordinates]
    scaled = z / (1 + (8 * t).exp()).sqrt().view(-1, 1, 1, 1, 1)
    return torch.cat([scaled, clean], 2), t, condition.tokens, told, maps, cameras


def our_rays(c2w: Tensor, focal: float) -> Tensor:
    """(V, 4, 4) -> (V, h, w, 78)."""
    return harmonics(plucker(c2w[None], focal, RAYS_SIDE, "released"))[0]


def depth() -> Tensor:
    """(1, V, 1, H, W): a third of the pixels empty."""
    found = numbers("ouroboros3d depth", (1, len(VIEWS), 1, MAPS_SIDE, MAPS_SIDE))
    return 1.7 + 0.4 * found * (found > -0.58) - 1.7 * (found <= -0.58)
