"""VideoMV's generator: a video diffusion model whose frames are the views of an orbit round the object.

Facts of the design (arXiv 2403.12010, github alibaba/VideoMV): I2VGen-XL's U-Net (`unet`) with a camera token
a view; v-prediction on a cosine schedule that ends without signal; 24 views at elevation 5, 256 pixels.
`docs/videomv.md` compares it with the official code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.generators.base import Prediction, of_velocity
from aligncvc.models.generators.latent import LatentGenerator, build_image_encoder, resized
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.models.generators.text import build_text_encoder, text_tokens
from aligncvc.models.generators.videomv.prompts import EMPTY, NEGATIVE
from aligncvc.models.generators.videomv.settings import Settings
from aligncvc.models.generators.videomv.unet import build_unet
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.camera_formats import to_imagedream


@dataclass(frozen=True)
class Condition:
    """What the denoiser sees besides noisy latents.

    text, negative: tokens (B, T, D) of this branch's prompt and of the unconditional one. image (B, D) and
    latents (B, 4, h, w): the input image's embedding and latents. cameras: (B, V, 16).
    """

    text: Tensor
    negative: Tensor
    image: Tensor
    latents: Tensor
    cameras: Tensor


class VideoMV(LatentGenerator):
    """Latents are (B, V, 4, h, w) for any number of views; the denoiser takes a whole object as one row."""

    # diffusers and transformers build attributes at run time, which type checkers cannot follow
    unet: Any
    text_encoder: Any
    schedule: AlphaSchedule

    def __init__(self, config: Settings, size_px: int, access: CheckpointAccess = CheckpointAccess()) -> None:
        """size_px: of the views, unless the settings name one. UserError if latents do not fit it."""
        super().__init__(config.vae, config.size_px or size_px)
        self.config = config
        side, steps = self.size_px // self.factor, 2 ** (len(config.unet.channels) - 1)
        if side % steps:
            raise UserError(
                f"views of {self.size_px} pixels give latents of side {side}, and the U-Net halves them "
                f"{len(config.unet.channels) - 1} times; choose a multiple of {steps * self.factor} for the "
                "network's size_px or render.size_px"
            )
        self.unet = build_unet(config, side)
        self.image_encoder = build_image_encoder(config.image_encoder, config.clip, access)
        self.text_encoder = None if config.text is None else build_text_encoder(config.text)
        self.schedule = AlphaSchedule.cosine_zero_snr(spacing=config.spacing)

    def rows(self, views: int) -> int:
        return 1

    @torch.no_grad()
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        image = resized(image, self.size_px)
        text, negative = (tokens.expand(len(image), -1, -1) for tokens in self.prompts(image))
        latents = self.encode_rows(image) * self.scaling_factor
        return Condition(
            text, negative, image_embedding(self.image_encoder, image), latents,
            camera_tokens(cameras, self.config.camera_radius),
        )  # fmt: skip

    def prompts(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (1, T, D) of the empty and of the negative prompt; without a tower T is 0."""
        if self.text_encoder is None:
            nothing = like.new_zeros(1, 0, self.config.token_dim)
            return nothing, nothing
        empty, negative = text_tokens(self.text_encoder, (EMPTY, NEGATIVE), like.device)
        return empty, negative

    def unconditional(self, condition: Condition) -> Condition:
        """The negative prompt and no embedding of the image; its latents and the cameras stay."""
        return replace(condition, text=condition.negative, image=torch.zeros_like(condition.image))

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        return of_velocity(raw, z_t, *self.schedule.signal_noise(timesteps))

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        seen = condition
        fps = torch.full_like(timesteps, self.config.fps)
        return self.unet(z_t, timesteps, fps, seen.cameras, seen.latents, seen.text, seen.image)


def camera_tokens(cameras: Tensor, radius: float) -> Tensor:
    """(B, V, 4, 4) ours -> (B, V, 16): rows of OpenGL matrices, the input view at +x, `radius` away."""
    c2w = to_imagedream(cameras)
    distance = c2w[..., :1, :3, 3:].norm(dim=-2, keepdim=True)
    top = torch.cat([c2w[..., :3, :3], c2w[..., :3, 3:] * (radius / distance)], -1)
    return torch.cat([top, c2w[..., 3:, :]], -2).flatten(-2)


def image_embedding(encoder: nn.Module, image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, D): CLIP's projected embedding, or Lite0's features at unit RMS."""
    if isinstance(encoder, Lite0):
        return encoder.token(image)[:, 0]
    assert isinstance(encoder, ClipImageEncoder)
    size = (encoder.size_px, encoder.size_px)
    if tuple(image.shape[-2:]) != size:
        image = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
    pixels = ((image - encoder.mean) / encoder.std).to(encoder.tower.dtype)
    return encoder.tower(pixel_values=pixels).image_embeds


def build(network: Mapping[str, Any], size_px: int, access: CheckpointAccess = CheckpointAccess()) -> VideoMV:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return VideoMV(Settings.model_validate(network), size_px, access)
