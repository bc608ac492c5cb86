"""The cases in which ImageDream is compared with Gen-3Diffusion's code, and what ours yields in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from parity_tools import fill, numbers
from torch import Tensor
from wonder3d_ddim import sample_ddim

from aligncvc.models.generators.imagedream.network import Condition, ImageDream
from aligncvc.models.generators.imagedream.settings import PRESETS, Resampler, Settings, Unet
from aligncvc.models.generators.parts import Clip, Text, Vae
from aligncvc.scene.cameras import orbit

CHANNELS, HEAD_CHANNELS, CONTEXT_DIM, FEATURES_DIM = (32, 64, 128, 128), 16, 64, 1280
SIDE, SIZE_PX, VIEWS = 8, 64, 4
TIMESTEPS = (601, 33)
STEPS, GUIDANCE = 3, 5.0
ELEVATION_DEG = 10.0


def reduced() -> Settings:
    """Gen-3Diffusion's at a small width; what its classes fix (groups, the resampler's heads) stays."""
    return Settings(
        vae=Vae(channels=[8, 16, 16, 16], layers=1, norm_groups=4, scaling_factor=0.18215),
        unet=Unet(
            channels=list(CHANNELS), attention=[True, True, True, False], layers=2,
            head_channels=HEAD_CHANNELS, norm_groups=32, context_dim=CONTEXT_DIM,
        ),
        resampler=Resampler(tokens=16, depth=4, heads=12, head_channels=64),
        image_encoder="clip",
        clip=Clip(
            hidden_size=FEATURES_DIM, intermediate_size=32, num_hidden_layers=2, num_attention_heads=8,
            patch_size=112, image_size=224, hidden_act="gelu",
        ),
        text=Text(hidden_size=CONTEXT_DIM, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2),
        prompts="gen3diffusion", size_px=SIZE_PX,
    )  # fmt: skip


def published() -> Settings:
    return Settings.model_validate(PRESETS["gen3diffusion"])


def ours() -> ImageDream:
    """Our generator at reduced width, filled by formula."""
    generator = ImageDream(reduced(), SIZE_PX).eval().requires_grad_(False)
    for part in generator.parts().values():
        fill(part)
    return generator


class Renamed:
    """A reference's own tensors under our names, for `fill`: both networks get the same numbers."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.state.items()


def reference_options(full: bool = False) -> dict[str, Any]:
    """What the official class is built with."""
    width, head, context = (320, 64, 1024) if full else (CHANNELS[0], HEAD_CHANNELS, CONTEXT_DIM)
    return {
        "model_channels": width, "channel_mult": [1, 2, 4, 4], "num_res_blocks": 2,
        "num_head_channels": head, "context_dim": context, "ip_dim": 16,
    }  # fmt: skip


def inputs(batch: int, side: int = SIDE, context: int = CONTEXT_DIM) -> tuple[Tensor, Tensor, Condition]:
    """(z, timesteps, condition) of one call of our generator, by formula."""
    cameras = numbers("imagedream cameras", (batch, VIEWS + 1, 16))
    cameras[:, -1] = 0
    condition = Condition(
        numbers("imagedream text", (batch, 5, context)),
        numbers("imagedream negative", (batch, 5, context)),
        numbers("imagedream features", (batch, 7, FEATURES_DIM)),
        numbers("imagedream latents", (batch, 4, side, side)),
        cameras,
    )
    return numbers("imagedream z", (batch, VIEWS, 4, side, side)), torch.tensor(TIMESTEPS[:batch]), condition


def reference_output(unet: Any, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
    """The official U-Net's output for the same call, (B, V, C, h, w); it overwrites the last frame."""
    frames = z.shape[1] + 1
    anything = numbers("imagedream last frame", tuple(z[:, :1].shape))
    with torch.no_grad():
        output = unet(
            torch.cat([z, anything], 1).flatten(0, 1),
            timesteps=timesteps.float().repeat_interleave(frames),
            context=condition.text.repeat_interleave(frames, 0),
            camera=condition.cameras.flatten(0, 1),
            num_frames=frames,
            ip=condition.features.repeat_interleave(frames, 0),
            ip_img=condition.latents,
        )
    return output.unflatten(0, (-1, frames))[:, :-1]


def image() -> Tensor:
    """(3, H, W) in [0, 1]."""
    return numbers("imagedream image", (3, SIZE_PX, SIZE_PX)) / 12**0.5 + 0.5


def rig_cameras(elevation_deg: float = 0.0) -> Tensor:
    """(4, 4, 4): the input view first; at Gen-3Diffusion's distance."""
    rig = orbit([0, 90, 180, 270], elevation_deg, distance=1.5, fov_y_deg=49.1, size_px=SIZE_PX)
    return rig.c2w


def start_noise() -> Tensor:
    return numbers("imagedream start", (1, VIEWS, 4, SIDE, SIDE))


def our_samples(generator: ImageDream) -> Tensor:
    """(1, V, C, h, w): clean latents by the official DDIM (leading, eta 0), from image and cameras."""
    condition = generator.encode_condition(image()[None], rig_cameras()[None])
    return sample_ddim(generator, condition, start_noise(), STEPS, GUIDANCE, eta=0.0)  # type: ignore[arg-type]
