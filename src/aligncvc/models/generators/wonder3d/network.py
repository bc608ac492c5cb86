"""Wonder3D: a stock diffusers U-Net that denoises all views of an object, and their normals, together.

Facts of the design (github xxlong0/Wonder3D, branches main and Wonder3D_Plus): condition latents are
concatenated to the noisy ones, one image token goes through cross-attention, and a sin/cos camera-and-task
vector (`labels`) is the class embedding. `docs/wonder3d.md` compares it with the official code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.generators.base import Prediction, of_noise, of_velocity
from aligncvc.models.generators.latent import LatentGenerator, build_image_encoder, resized
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.models.generators.wonder3d.attention import arrange, by_domain, by_object, join_views
from aligncvc.models.generators.wonder3d.labels import camera_embedding
from aligncvc.models.generators.wonder3d.settings import Settings
from aligncvc.models.specs import CheckpointAccess

DOMAINS = {"colours": ("colours",), "both": ("normals", "colours")}


def build_unet(config: Settings, side: int) -> UNet2DConditionModel:
    """The denoiser with random weights; side (of the latents) is a note for diffusers only."""
    unet, channels = config.unet, config.vae.latent_channels
    attention = unet.attended
    model = UNet2DConditionModel(
        sample_size=side,
        in_channels=2 * channels,
        out_channels=channels,
        block_out_channels=tuple(unet.channels),
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        layers_per_block=unet.layers,
        norm_num_groups=unet.norm_groups,
        cross_attention_dim=config.token_dim,
        # diffusers' historical name: this tuple counts heads
        attention_head_dim=tuple(unet.heads or max(1, c // unet.head_channels) for c in unet.channels),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=config.camera_dim,
    )
    join_views(model, unet.cross_domain)
    return model


@dataclass(frozen=True)
class Condition:
    """tokens (B, T, D) of the image encoder, latents (B, C, h, w) of the input image, cameras (B, V, E)."""

    tokens: Tensor
    latents: Tensor
    cameras: Tensor


class Wonder3D(LatentGenerator):
    """Latents are (B, V, D C, h, w): the domains of a view lie in its channels, normals first.

    In the U-Net they are rows [normals; colours], each (B, V); with guidance, unconditional objects come
    first.
    """

    # diffusers builds attributes and methods at run time, which type checkers cannot follow
    unet: Any
    schedule: AlphaSchedule

    def __init__(self, config: Settings, size_px: int, access: CheckpointAccess = CheckpointAccess()) -> None:
        """size_px: of the views, unless the settings name one. UserError if latents do not fit it."""
        super().__init__(config.vae, config.size_px or size_px)
        self.config = config
        self.domains = DOMAINS[config.domains]
        self.unet = build_unet(config, self.size_px // self.factor)
        self.image_encoder = build_image_encoder(config.image_encoder, config.clip, access)
        self.schedule = AlphaSchedule.scaled_linear()

    def rows(self, views: int) -> int:
        return len(self.domains) * views

    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        views, channels, height, width = super().latent_shape(views)
        return views, len(self.domains) * channels, height, width

    def encode(self, images: Tensor) -> Tensor:
        """(B, V, 3 D, H, W) in [0, 1], any size; normals, then colours. UserError if one is missing."""
        if images.shape[2] != 3 * len(self.domains):
            raise UserError(
                f"domains is {self.config.domains!r} and views with {images.shape[2]} channels were "
                "given: renderings have no normals to encode; give the latents that they were made from "
                "too (encode_renderings), or set domains: colours"
            )
        return self._encode(images)

    def encode_renderings(self, renderings: Tensor, predicted: Tensor | None = None) -> Tensor:
        """With both domains, the predicted normals' latents with the renderings' colours; else `encode`."""
        if len(self.domains) == 1 or predicted is None:
            return self.encode(renderings)
        return torch.cat([predicted[:, :, : -self.latent_channels], self._encode(renderings)], 2)

    def _encode(self, images: Tensor) -> Tensor:
        """Images (B, V, 3 N, H, W) of any N domains -> latents (B, V, N C, h, w)."""
        domains = images.shape[2] // 3
        rows = by_domain(images, domains)
        return by_object(self.encode_rows(rows), domains, len(images)) * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        return self.decode_domains(latents[:, :, -self.latent_channels :])[:, :, -1]  # the colours

    def decode_domains(self, latents: Tensor) -> Tensor:
        """Latents -> (B, V, D, 3, H, W), not clamped; normals are (n + 1) / 2 in the input view's frame."""
        domains = latents.shape[2] // self.latent_channels
        rows = self.vae.decode(by_domain(latents, domains) / self.scaling_factor).sample / 2 + 0.5
        return by_object(rows, domains, len(latents)).unflatten(2, (domains, 3))

    @torch.no_grad()
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        image = resized(image, self.size_px)
        dim, kind, table = self.config.camera_dim, self.config.camera_type, self.config.camera_table
        vector = camera_embedding(cameras, dim=dim, camera_type=kind, table=table, domains=self.domains)
        latents = self.encode_rows(image) * self.scaling_factor
        return Condition(image_token(self.image_encoder, image), latents, vector)

    def unconditional(self, condition: Condition) -> Condition:
        zeros = torch.zeros_like(condition.tokens), torch.zeros_like(condition.latents)
        return Condition(*zeros, condition.cameras)

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        meaning = of_noise if self.config.unet.prediction == "epsilon" else of_velocity
        return meaning(raw, z_t, *self.schedule.signal_noise(timesteps))

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        (batch, views), domains = z_t.shape[:2], len(self.domains)
        arrange(self.unet, views, self._counterpart(views))
        output = self.unet(
            self.first_rows(z_t, condition),
            timesteps.repeat_interleave(views).repeat(domains),
            encoder_hidden_states=condition.tokens.repeat_interleave(views, 0).repeat(domains, 1, 1),
            class_labels=by_domain(condition.cameras, domains),
        ).sample
        return by_object(output, domains, batch)

    def first_rows(self, z_t: Tensor, condition: Condition) -> Tensor:
        """What the U-Net's first convolution sees, (D B V, channels, h, w): beside each view the input's."""
        clean = condition.latents.repeat_interleave(z_t.shape[1], 0).repeat(len(self.domains), 1, 1, 1)
        return torch.cat([by_domain(z_t, len(self.domains)), clean], dim=1)

    def _counterpart(self, views: int) -> int | None:
        """How many rows further on a row's counterpart in cross-domain attention is; None: half the rows."""
        if len(self.domains) == 2:
            return None
        if self.config.colours_alone == "self":
            return 0
        if views % 2:
            raise UserError(
                f"colours_alone: view_pairs needs an even number of views, not {views}; change "
                "the rig of the pair"
            )
        return views // 2


def image_token(encoder: nn.Module, image: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 1, D): CLIP's projected embedding, or Lite0's features at unit RMS."""
    if isinstance(encoder, Lite0):
        return encoder.token(image)
    assert isinstance(encoder, ClipImageEncoder)
    size = (encoder.size_px, encoder.size_px)
    if tuple(image.shape[-2:]) != size:
        image = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    pixels = ((image - encoder.mean) / encoder.std).to(encoder.tower.dtype)
    return encoder.tower(pixel_values=pixels).image_embeds[:, None]


def build(
    network: Mapping[str, Any], size_px: int, access: CheckpointAccess = CheckpointAccess()
) -> Wonder3D:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return Wonder3D(Settings.model_validate(network), size_px, access)
