"""Ouroboros3D's multi-view generator: Stable Video Diffusion that is shown a 3D model of its own views.

Facts of the design (github Costwen/Ouroboros3D, arXiv 2406.03184): renderings of the last step's 3D model and
maps of where their pixels lie go through adapters; each view's rays are told at every block. Its world is the
one that the input camera faces. `docs/ouroboros3d.md` compares it with the official code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.generators import svd
from aligncvc.models.generators.base import Guidance, TakesMaps
from aligncvc.models.generators.latent import resized
from aligncvc.models.generators.ouroboros3d.maps import at_side, coordinate_maps
from aligncvc.models.generators.ouroboros3d.settings import Settings
from aligncvc.models.generators.ouroboros3d.unet import MapsUnet, alternate_tokens
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.camera_formats import to_first_camera
from aligncvc.scene.cameras import Cameras
from aligncvc.splat import Rendering
from aligncvc.streams import normal

ID_DIM = 256
"""Width of the sinusoid of each of the video's three numbers."""


@dataclass(frozen=True)
class Condition:
    """tokens (B, 1, D) of the image encoder, latents (B, C, h, w) of the input image, not scaled.

    c2w (B, V, 4, 4) in the network's world. renderings and coordinates (B, V, 3, H, W) in [0, 1] of the 3D
    model, the latter positions of pixels; zeros before there is one.
    """

    tokens: Tensor
    latents: Tensor
    c2w: Tensor
    renderings: Tensor
    coordinates: Tensor


class Ouroboros3D(svd.VideoGenerator, TakesMaps):
    """Latents are (B, V, C, h, w), the input view first; with guidance, unconditional objects come first."""

    def __init__(self, config: Settings, size_px: int, access: CheckpointAccess = CheckpointAccess()) -> None:
        """size_px: of the views, unless the settings name one. UserError if latents do not fit it."""
        super().__init__(config, config.unet, size_px, 3 * ID_DIM, access)
        self.config, channels = config, config.unet.channels
        step = self.factor * 2 ** (len(channels) - 1)
        if self.size_px % step:
            raise UserError(
                f"views of {self.size_px} pixels cannot be halved down to the last of the network's levels; "
                f"choose a multiple of {step} for its size_px or render.size_px"
            )
        self.unet = MapsUnet(self.unet, channels, self.factor, config.rays, config.ray_skips)
        if config.temporal_context == "released":
            alternate_tokens(self.unet)
        self.focal = 0.5 / math.tan(math.radians(config.fov_y_deg) / 2)

    @torch.no_grad()
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        image = resized(image, self.size_px)
        latents = self.encode_rows(image + self._noise(image))
        empty = image.new_zeros(*cameras.shape[:2], *image.shape[1:])
        return Condition(self.tokens(image), latents, self._posed(cameras), empty, empty)

    def _noise(self, image: Tensor) -> Tensor:
        """For pixels in [0, 1]; the image token is of the clean image."""
        if not self.config.condition_noise:
            return torch.zeros_like(image)
        field = normal(tuple(image.shape[1:]), 0, "ouroboros3d", "condition").to(image)
        return self.config.noise_aug / 2 * field

    def _posed(self, c2w: Tensor) -> Tensor:
        with torch.autocast(c2w.device.type, enabled=False):  # which would round the matrix products
            return to_first_camera(c2w.float(), self.config.radius)

    def with_maps(self, condition: Condition, drawn: Rendering, cameras: Cameras) -> Condition:
        """Renderings on white; drawn at the generator's own size, they are what its weights were shown."""
        rgb, alpha, depth = at_side(drawn, self.size_px)
        c2w = cameras.c2w.expand(len(rgb), -1, -1, -1)
        scale = self.config.radius / c2w[:, 0, :3, 3].norm(dim=-1)
        positions = coordinate_maps(
            scale.view(-1, 1, 1, 1, 1) * depth, alpha, self._posed(c2w), cameras.focal_px / cameras.height,
            self.config.coordinates,
        )  # fmt: skip
        return replace(condition, renderings=rgb.clamp(0, 1), coordinates=positions)

    def unconditional(self, condition: Condition) -> Condition:
        zeros = torch.zeros_like(condition.tokens), torch.zeros_like(condition.latents)
        return replace(condition, tokens=zeros[0], latents=zeros[1])

    def guide(self, unconditional: Tensor, conditional: Tensor, guidance: Guidance) -> Tensor:
        if not isinstance(guidance, Tensor):
            least = min(self.config.least_guidance, guidance)
            guidance = torch.linspace(least, guidance, conditional.shape[1]).to(conditional)
        return super().guide(unconditional, conditional, guidance)

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        sigma = self.schedule.signal_noise(timesteps)[1].to(z_t.dtype)
        clean = condition.latents[:, None].expand_as(z_t)
        told = self.config.fps_id, self.config.motion_bucket, self.config.noise_aug
        ids = torch.tensor(told, device=z_t.device).expand(len(z_t), -1)
        return self.unet(
            torch.cat([z_t / (sigma**2 + 1).sqrt(), clean], 2), timesteps, condition.tokens,
            svd.sinusoid(ids, ID_DIM).flatten(1), (condition.renderings, condition.coordinates),
            condition.c2w, self.focal,
        )  # fmt: skip


def build(
    network: Mapping[str, Any], size_px: int, access: CheckpointAccess = CheckpointAccess()
) -> Ouroboros3D:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return Ouroboros3D(Settings.model_validate(network), size_px, access)
