"""What the descendants of Stable Video Diffusion share (Blattmann et al. 2023, arXiv 2311.15127).

A network sees c_in z beside the condition's latents, is told ln(sigma) / 4, and says F; then
x0 = c_skip z + c_out F with c_skip = 1 / (sigma^2 + 1), c_out = -sigma / sqrt(sigma^2 + 1) and
c_in = 1 / sqrt(sigma^2 + 1), which is the v-prediction of a variance-preserving z.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.generators.base import Prediction
from aligncvc.models.generators.latent import LatentGenerator, build_image_encoder
from aligncvc.models.generators.parts import LatentSettings, VideoUnet
from aligncvc.models.generators.schedules import SigmaSchedule
from aligncvc.models.specs import CheckpointAccess


class VideoDenoiser(UNetSpatioTemporalConditionModel):
    """diffusers' network with a vector of its own for each view, where diffusers has one for the video."""

    # self: its attributes and methods are built at run time, which type checkers cannot follow
    def forward(self: Any, sample: Tensor, timesteps: Tensor, tokens: Tensor, vectors: Tensor) -> Tensor:
        """sample (B, V, C, h, w), timesteps (B,), tokens (B, T, D), vectors (B, V, E) -> (B, V, C', h, w)."""
        batch, views = sample.shape[:2]
        told = self.time_embedding(self.time_proj(timesteps).to(sample.dtype)).repeat_interleave(views, 0)
        told = told + self.add_embedding(vectors.flatten(0, 1).to(sample.dtype))
        # no view is a single image, which temporal layers would leave alone
        plain = {"temb": told, "image_only_indicator": sample.new_zeros(batch, views)}
        attending = plain | {"encoder_hidden_states": tokens.repeat_interleave(views, 0)}
        x = self.conv_in(sample.flatten(0, 1))
        skips = [x]
        for block in self.down_blocks:
            x, new = block(x, **(attending if hasattr(block, "attentions") else plain))
            skips += new
        x = self.mid_block(x, **attending)
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, taken = skips[:-count], tuple(skips[-count:])
            size = skips[-1].shape[2:] if skips else None  # of odd latents, twice the half is not the whole
            given = attending if hasattr(block, "attentions") else plain
            x = block(x, taken, upsample_size=size, **given)
        return self.conv_out(self.conv_act(self.conv_norm_out(x))).unflatten(0, (batch, views))


def build_denoiser(unet: VideoUnet, latent_channels: int, vector_dim: int, token_dim: int) -> VideoDenoiser:
    """With random weights. vector_dim: E of the views' vectors; token_dim: D of the image's tokens."""
    attention = unet.attended
    model: Any = VideoDenoiser(
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(unet.channels),
        down_block_types=tuple(f"{'CrossAttn' if a else ''}DownBlockSpatioTemporal" for a in attention),
        up_block_types=tuple(f"{'CrossAttn' if a else ''}UpBlockSpatioTemporal" for a in reversed(attention)),
        layers_per_block=unet.layers,
        cross_attention_dim=token_dim,
        num_attention_heads=tuple(max(1, c // unet.head_channels) for c in unet.channels),
        projection_class_embeddings_input_dim=vector_dim,
    )
    for name, module in model.named_modules():
        if unet.even_norms and isinstance(module, torch.nn.GroupNorm) and "_res_block." in name:
            module.eps = 1e-5
    return model


class VideoGenerator(LatentGenerator):
    """Base class of its kinds: the EDM form around the network F. Latents are (B, V, C, h, w)."""

    # diffusers builds attributes and methods at run time, which type checkers cannot follow
    unet: Any
    schedule: SigmaSchedule

    def __init__(
        self, config: LatentSettings, unet: VideoUnet, size_px: int, vector_dim: int, access: CheckpointAccess
    ) -> None:
        """size_px: of the views, unless the settings name one. UserError if latents do not fit it."""
        super().__init__(config.vae, config.size_px or size_px)
        self.unet = build_denoiser(unet, config.vae.latent_channels, vector_dim, config.token_dim)
        self.image_encoder = build_image_encoder(config.image_encoder, config.clip, access)
        self.schedule = SigmaSchedule()

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 1, D)."""
        encoder = self.image_encoder
        return encoder.token(images) if isinstance(encoder, Lite0) else image_token(encoder, images)

    def rows(self, views: int) -> int:
        return 1  # the denoiser's first argument has an axis of objects and one of views

    def denoise(
        self, z_t: Tensor, timesteps: Tensor, tokens: Tensor, latents: Tensor, vectors: Tensor
    ) -> Tensor:
        """F; latents (B, C, h, w) of the condition, tokens (B, T, D), vectors (B, V, E)."""
        sigma = self.schedule.signal_noise(timesteps)[1].to(z_t.dtype)
        clean = latents[:, None].expand_as(z_t)
        return self.unet(torch.cat([z_t / (sigma**2 + 1).sqrt(), clean], 2), timesteps, tokens, vectors)

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        # eps = (z - x0) / sigma with sigma divided out: no digit is lost where z is nearly x0 or nearly noise
        sigma = self.schedule.signal_noise(timesteps)[1]
        squares, root = sigma**2 + 1, (sigma**2 + 1).sqrt()
        return Prediction(x0=z_t / squares - sigma / root * raw, eps=sigma / squares * z_t + raw / root)


def sinusoid(values: Tensor, dim: int) -> Tensor:
    """(...) -> (..., dim): cosines of values times dim / 2 frequencies from 1 down to 1e-4, then sines."""
    rows = get_timestep_embedding(values.flatten(), dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    return rows.unflatten(0, values.shape)


def image_token(encoder: ClipImageEncoder, images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> CLIP's projected embedding (B, 1, D), not normalised."""
    pixels = (smoothly_resized(images, encoder.size_px) - encoder.mean) / encoder.std
    return encoder.tower(pixel_values=pixels.to(encoder.tower.dtype)).image_embeds[:, None]


def smoothly_resized(images: Tensor, side: int) -> Tensor:
    """(B, 3, H, W) at side x side: a Gaussian of (factor - 1) / 2 pixels, then bicubic with aligned corners.

    As kornia's antialiased resize, which SVD's networks were trained with; diffusers' pipeline has the same.
    """
    for axis in (2, 3):
        deviation = (images.shape[axis] / side - 1) / 2
        if deviation > 0:
            reach = int(max(4 * deviation, 3)) // 2
            offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
            weights = (-(offsets**2) / (2 * deviation**2)).exp()
            kernel = (weights / weights.sum()).view(1, 1, *((-1, 1) if axis == 2 else (1, -1)))
            padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
            padded = F.pad(images, padding, mode="reflect")
            images = F.conv2d(padded.flatten(0, 1)[:, None], kernel).unflatten(0, images.shape[:2])[:, :, 0]
    return F.interpolate(images, (side, side), mode="bicubic", align_corners=True)
