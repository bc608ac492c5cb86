"""Generators that denoise the latents of a frozen image VAE, one image a view (Rombach et al. 2022)."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.lite0 import Lite0, load_lite0
from aligncvc.models.generators.base import MultiViewGenerator
from aligncvc.models.generators.parts import Clip, Vae
from aligncvc.models.specs import CheckpointAccess


def build_vae(vae: Vae, size_px: int) -> Any:
    """diffusers' model with random weights, frozen; size_px is a note for diffusers only."""
    common: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * len(vae.channels),
        "block_out_channels": tuple(vae.channels),
        "layers_per_block": vae.layers,
        "latent_channels": vae.latent_channels,
        "sample_size": size_px,
    }
    alone = {
        "up_block_types": ("UpDecoderBlock2D",) * len(vae.channels),
        "norm_num_groups": vae.norm_groups,
        "use_post_quant_conv": vae.post_quant_conv,
    }
    video, image = AutoencoderKLTemporalDecoder, AutoencoderKL
    model: Any = video(**common) if vae.video_decoder else image(**common, **alone)
    return model.requires_grad_(False)


def build_image_encoder(
    choice: Literal["lite0", "clip"], clip: Clip, access: CheckpointAccess, **options: Any
) -> Lite0 | ClipImageEncoder:
    """Lite0 with its own weights, or a CLIP with random ones (options: of its class); frozen."""
    if choice == "lite0":
        return load_lite0(access).requires_grad_(False)
    return ClipImageEncoder(**options, **clip.model_dump())


class LatentGenerator(MultiViewGenerator):
    """Latents are (B, V, C, h, w), `factor` times smaller than views of size_px pixels."""

    # diffusers and transformers build attributes and methods at run time, which type checkers cannot follow
    vae: Any
    unet: Any
    image_encoder: Any
    text_encoder: Any

    def __init__(self, vae: Vae, size_px: int) -> None:
        """size_px: of the views. UserError if latents do not fit it."""
        super().__init__()
        self.size_px = size_px
        self.scaling_factor, self.latent_channels = vae.scaling_factor, vae.latent_channels
        self.video_decoder = vae.video_decoder
        self.factor = 2 ** (len(vae.channels) - 1)
        if size_px % self.factor:
            raise UserError(
                f"views of {size_px} pixels do not divide into latents {self.factor} times smaller; "
                "choose a multiple of it for the network's size_px or render.size_px"
            )
        self.vae = build_vae(vae, size_px)
        self.text_encoder = None

    @property
    def denoiser(self) -> Any:
        return self.unet

    def parts(self) -> dict[str, nn.Module]:
        encoder = self.image_encoder
        parts = {
            "unet": self.unet,
            "vae": self.vae,
            "image_encoder": encoder.tower if isinstance(encoder, ClipImageEncoder) else None,
            "text_encoder": self.text_encoder,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        side = self.size_px // self.factor
        return views, self.latent_channels, side, side

    def encode_rows(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1], any size -> the VAE's means (N, C, h, w), not scaled; differentiable."""
        return self.vae.encode(resized(images, self.size_px) * 2 - 1).latent_dist.mode()

    def encode(self, images: Tensor) -> Tensor:
        return self.encode_rows(images.flatten(0, 1)).unflatten(0, images.shape[:2]) * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        rows, frames = latents.flatten(0, 1) / self.scaling_factor, {"num_frames": latents.shape[1]}
        decoded = self.vae.decode(rows, **(frames if self.video_decoder else {})).sample / 2 + 0.5
        return decoded.unflatten(0, latents.shape[:2])


def resized(images: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) at side x side: means over pixels when they shrink, bilinear when they grow."""
    if tuple(images.shape[-2:]) == (side, side):
        return images
    if min(images.shape[-2:]) >= side:
        return F.interpolate(images, (side, side), mode="area")
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
