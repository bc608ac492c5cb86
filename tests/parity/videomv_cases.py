"""The cases in which VideoMV's generator is compared with its official code, and what ours yields in them.

Official weights have other names. `official_state` gives them their numbers by those; the way to ours is the
ledger's layout, so that it is compared too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL
from parity_tools import fill, numbers
from torch import Tensor, nn

from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.generators.latent import build_vae
from aligncvc.models.generators.parts import Clip, Text, Vae
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.models.generators.text import build_text_encoder, padded
from aligncvc.models.generators.videomv.network import Condition, VideoMV, camera_tokens
from aligncvc.models.generators.videomv.prompts import EMPTY, NEGATIVE
from aligncvc.models.generators.videomv.settings import PRESETS, Settings, Unet
from aligncvc.models.generators.videomv.unet import CameraUnet, build_unet
from aligncvc.scene.cameras import orbit, ring_azimuths_deg

Layout = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

WIDTH, HEAD, SIDE, TOKEN = 32, 8, 16, 1024
"""Full depth at a tenth of the width; the official decoder fixes the tokens' width."""
VIEWS, RIG_VIEWS, ELEVATION_DEG, RADIUS = 4, 24, 5.0, 1.7
TIMESTEPS, STEPS, GUIDANCE, FPS = (981, 33), 4, 6.0, 8
ALPHAS = (0, 1, 181, 381, 581, 981, 998, 999)

PUBLISHED = Settings.model_validate(PRESETS["i2v"])
UNET = Unet(
    channels=[WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH], attention=[True, True, True, False], layers=2,
    head_channels=HEAD, norm_groups=32,
)  # fmt: skip
REDUCED = PUBLISHED.model_copy(update={"unet": UNET})
VAE = Vae(channels=[32, 64, 128, 128], layers=2, norm_groups=32, scaling_factor=0.18215)
VAE_PX = 32
TEXT = Text(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)
IMAGE = Clip(
    hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, patch_size=8,
    image_size=32, projection_dim=16, hidden_act="gelu",
)  # fmt: skip


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with their numbers by name, as `fill` gives them to a module."""
    fill(SimpleNamespace(named_parameters=state.items))  # type: ignore[arg-type]
    return state


def official_state(keys: Mapping[str, list[int]], module: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """The official weights at the size of our module, from the official keys and shapes at full size.

    A layout that gives one tensor several names has cut its first axis; it may have dropped a last one.
    """
    ours, state = module.state_dict(), {}
    for key, full in keys.items():
        names = list(layout({key: torch.empty(full, device="meta")}))
        first, *rest = ours[names[0]].shape
        dropped = [1] * (len(full) - len(rest) - 1)
        state[key] = torch.empty(first * len(names), *rest, *dropped)
    return filled(state)


def our_unet(state: Mapping[str, Tensor], layout: Layout, config: Settings = REDUCED) -> CameraUnet:
    unet = build_unet(config, SIDE).eval().requires_grad_(False)
    unet.load_state_dict(layout(state), strict=True)
    return unet


def our_generator(unet: nn.Module) -> VideoMV:
    """The generator round a U-Net alone: what else it has is compared by itself."""
    generator = VideoMV.__new__(VideoMV)
    nn.Module.__init__(generator)
    generator.config, generator.unet = REDUCED, unet
    generator.schedule = AlphaSchedule.cosine_zero_snr(spacing=PUBLISHED.spacing)
    return generator


def inputs(batch: int, views: int = VIEWS, side: int = SIDE) -> tuple[Tensor, Tensor, Condition]:
    """(z, timesteps, condition) of one call of our generator, by formula."""
    condition = Condition(
        numbers("videomv text", (batch, 77, TOKEN)),
        numbers("videomv negative", (batch, 77, TOKEN)),
        numbers("videomv image", (batch, TOKEN)),
        numbers("videomv latents", (batch, 4, side, side)),
        our_cameras(views).expand(batch, -1, -1) + 0.1 * numbers("videomv cameras", (batch, views, 16)),
    )
    return numbers("videomv z", (batch, views, 4, side, side)), torch.tensor(TIMESTEPS[:batch]), condition


def our_cameras(views: int = RIG_VIEWS) -> Tensor:
    """(1, V, 16): tokens of VideoMV's rig, from cameras at another distance than they tell."""
    rig = orbit(ring_azimuths_deg(views), ELEVATION_DEG, distance=3.0, fov_y_deg=39.6, size_px=256)
    return camera_tokens(rig.c2w[None], RADIUS)


@torch.no_grad()
def our_samples(generator: VideoMV) -> tuple[Tensor, Tensor]:
    """Before the last of a few guided steps: noisy latents (1, V, 4, h, w), and the clean ones predicted."""
    z, _, condition = inputs(1)
    times = [torch.tensor([t]) for t in generator.schedule.times(STEPS)]
    for now, following in pairwise(times):
        found = generator.predict(z, now, condition, GUIDANCE)
        z = generator.schedule.step(z, found.x0, found.eps, now, following)
    return z, generator.predict(z, times[-1], condition, GUIDANCE).x0


@torch.no_grad()
def our_text(state: Mapping[str, Tensor], layout: Layout) -> Tensor:
    """(2, 77, D): tokens of the empty and of the negative prompt."""
    tower: Any = build_text_encoder(TEXT)
    tower.load_state_dict(layout(state), strict=True)
    return tower(input_ids=torch.tensor([padded(EMPTY), padded(NEGATIVE)])).last_hidden_state


@torch.no_grad()
def our_image(state: Mapping[str, Tensor], layout: Layout) -> Tensor:
    """(1, D) of pixels that are normalised already."""
    encoder = ClipImageEncoder(**IMAGE.model_dump())
    encoder.tower.load_state_dict(layout(state), strict=True)
    return encoder.tower(pixel_values=clip_pixels()).image_embeds


def clip_pixels() -> Tensor:
    return numbers("videomv pixels", (1, 3, IMAGE.image_size, IMAGE.image_size))


@torch.no_grad()
def our_vae(state: Mapping[str, Tensor], layout: Layout) -> tuple[Tensor, Tensor]:
    """Scaled means of an image, and an image of scaled latents."""
    vae: AutoencoderKL = build_vae(VAE, VAE_PX)
    vae.load_state_dict(layout(state), strict=True)  # type: ignore[attr-defined]
    pixels, latents = vae_inputs()
    means = vae.encode(pixels).latent_dist.mode() * VAE.scaling_factor
    return means, vae.decode(latents / VAE.scaling_factor).sample


def vae_inputs() -> tuple[Tensor, Tensor]:
    side = VAE_PX // 8
    return numbers("videomv vae", (1, 3, VAE_PX, VAE_PX)), numbers("videomv z0", (1, 4, side, side))
