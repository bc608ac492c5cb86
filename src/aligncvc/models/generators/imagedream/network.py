"""ImageDream "pixel": a diffusers U-Net that denoises all views beside the clean latents of the input image.

Facts of the design (arXiv 2312.02201; github YuxuanSnow/Gen3Diffusion, mvdream): Stable Diffusion 2.1's U-Net
whose self-attention sees all frames of an object, the views and one more that holds the input image; image
tokens have keys and values of their own in cross-attention; the camera's matrix goes through an MLP and is
added to the time embedding. `docs/imagedream.md` compares it with the official code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from torch import Tensor, nn

from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.lite0 import FEATURE_CHANNELS, Lite0
from aligncvc.models.generators.base import Prediction, of_noise
from aligncvc.models.generators.imagedream.prompts import IDS
from aligncvc.models.generators.imagedream.settings import Settings
from aligncvc.models.generators.latent import LatentGenerator, build_image_encoder, resized
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.models.generators.text import build_text_encoder, text_tokens
from aligncvc.models.generators.wonder3d.attention import JoinedAttention, arrange
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.camera_formats import to_imagedream


def build_unet(config: Settings, side: int) -> UNet2DConditionModel:
    """The denoiser and its resampler with random weights; side (of the latents) is a note for diffusers."""
    unet, resampler, channels = config.unet, config.resampler, config.vae.latent_channels
    attention = unet.attended
    model: Any = UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(unet.channels),
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        layers_per_block=unet.layers,
        norm_num_groups=unet.norm_groups,
        cross_attention_dim=unet.context_dim,
        # diffusers' historical name: this tuple counts heads
        attention_head_dim=tuple(max(1, c // unet.head_channels) for c in unet.channels),
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=16,
    )
    processors: dict[str, Any] = {}
    for name in model.attn_processors:
        width = model.get_submodule(name.removesuffix(".processor")).inner_dim
        processors[name] = (
            JoinedAttention(1, 1)
            if ".attn1." in name
            else IPAdapterAttnProcessor2_0(width, unet.context_dim, num_tokens=(resampler.tokens,))
        )
    model.set_attn_processor(processors)
    model.image_embed = IPAdapterPlusImageProjection(
        embed_dims=FEATURE_CHANNELS[-1] if config.image_encoder == "lite0" else config.clip.hidden_size,
        output_dims=unet.context_dim,
        hidden_dims=unet.context_dim,
        depth=resampler.depth,
        dim_head=resampler.head_channels,
        heads=resampler.heads,
        num_queries=resampler.tokens,
    )
    return model


@dataclass(frozen=True)
class Condition:
    """What the denoiser sees besides noisy latents.

    text, negative: (B, T, D) tokens of this branch's prompt and of the unconditional one; features (B, N, E)
    of the image encoder; latents (B, C, h, w) of the input image; cameras (B, V + 1, 16), 0 for the image.
    """

    text: Tensor
    negative: Tensor
    features: Tensor
    latents: Tensor
    cameras: Tensor


class ImageDream(LatentGenerator):
    """Latents are (B, V, C, h, w). In the U-Net an object is V + 1 rows, the last for the input image."""

    # diffusers and transformers build attributes at run time, which type checkers cannot follow
    unet: Any
    schedule: AlphaSchedule
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "to_k_ip.0", "to_v_ip.0")

    def __init__(self, config: Settings, size_px: int, access: CheckpointAccess = CheckpointAccess()) -> None:
        """size_px: of the views, unless the settings name one. UserError if latents do not fit it."""
        super().__init__(config.vae, config.size_px or size_px)
        self.config = config
        self.unet = build_unet(config, self.size_px // self.factor)
        self.image_encoder = build_image_encoder(config.image_encoder, config.clip, access, projected=False)
        self.text_encoder = None if config.text is None else build_text_encoder(config.text)
        self.schedule = AlphaSchedule.scaled_linear(spacing=config.spacing)

    def rows(self, views: int) -> int:
        return views + 1

    @torch.no_grad()
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        image = resized(image, self.size_px)
        text, negative = self._text(image)
        return Condition(
            text.expand(len(image), -1, -1),
            negative.expand(len(image), -1, -1),
            image_features(self.image_encoder, image, self.config.clip_resize),
            self.encode_rows(image) * self.scaling_factor,
            camera_tokens(cameras),
        )

    def _text(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (1, T, D) of the prompt and the negative prompt; without a tower one token of zeros."""
        if self.text_encoder is None:
            zeros = like.new_zeros(1, 1, self.config.unet.context_dim)
            return zeros, zeros
        text, negative = text_tokens(self.text_encoder, IDS[self.config.prompts], like.device)
        return text, negative

    def unconditional(self, condition: Condition) -> Condition:
        """Zeros before the resampler, not behind it, and the negative prompt."""
        zeros = torch.zeros_like(condition.features), torch.zeros_like(condition.latents)
        return replace(condition, text=condition.negative, features=zeros[0], latents=zeros[1])

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        return of_noise(raw, z_t, *self.schedule.signal_noise(timesteps))

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        batch, frames = len(z_t), z_t.shape[1] + 1
        arrange(self.unet, frames, None)
        tokens = self.unet.image_embed(condition.features)
        rows = torch.cat([z_t, condition.latents[:, None].to(z_t.dtype)], 1).flatten(0, 1)
        output = self.unet(
            rows,
            timesteps.repeat_interleave(frames),
            encoder_hidden_states=(
                condition.text.repeat_interleave(frames, 0),
                [tokens.repeat_interleave(frames, 0)],
            ),
            class_labels=condition.cameras.flatten(0, 1),
        ).sample
        return output.unflatten(0, (batch, frames))[:, :-1]


def image_features(encoder: nn.Module, image: Tensor, resize: str) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, N, E): CLIP's tokens before its last block, or Lite0's at unit RMS."""
    if isinstance(encoder, Lite0):
        tokens = encoder.features(image)[-1].flatten(2).transpose(1, 2)
        return tokens / tokens.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    assert isinstance(encoder, ClipImageEncoder)
    image = resized_for_clip(image, encoder.size_px, resize)
    pixels = ((image - encoder.mean) / encoder.std).to(encoder.tower.dtype)
    return encoder.tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]


def resized_for_clip(image: Tensor, side: int, resize: str) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 3, side, side); the form without a filter overshoots [0, 1]."""
    if tuple(image.shape[-2:]) == (side, side):
        return image
    if resize == "corners":
        return F.interpolate(image, (side, side), mode="bicubic", align_corners=True)
    return F.interpolate(image, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def camera_tokens(cameras: Tensor) -> Tensor:
    """(B, V, 4, 4) ours -> (B, V + 1, 16): ImageDream's matrices at unit distance; 0 for the image."""
    c2w = to_imagedream(cameras)
    position = c2w[..., :3, 3:] / c2w[..., :3, 3:].norm(dim=-2, keepdim=True)
    near = torch.cat([torch.cat([c2w[..., :3, :3], position], -1), c2w[..., 3:, :]], -2)
    return F.pad(near.flatten(-2), (0, 0, 0, 1))


def build(
    network: Mapping[str, Any], size_px: int, access: CheckpointAccess = CheckpointAccess()
) -> ImageDream:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return ImageDream(Settings.model_validate(network), size_px, access)
