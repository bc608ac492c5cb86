"""SV3D: video diffusion whose frames turn once round the object (Voleti et al. 2024, arXiv 2403.12008).

Facts of the design (github Stability-AI/generative-models): the input image's latents, not scaled, are
concatenated to the noisy ones, one image token goes through cross-attention, and each frame has a vector of
its own (`orbit`). `docs/sv3d.md` compares it with the official code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from aligncvc.models.generators.base import Guidance
from aligncvc.models.generators.latent import resized
from aligncvc.models.generators.sv3d.orbit import frame_order, triangle, vector_dim, view_vectors
from aligncvc.models.generators.sv3d.settings import Settings
from aligncvc.models.generators.svd import VideoGenerator
from aligncvc.models.specs import CheckpointAccess


@dataclass(frozen=True)
class Condition:
    """tokens (B, 1, D) and latents (B, C, h, w), not scaled, of the input image; vectors (B, V, E)."""

    tokens: Tensor
    latents: Tensor
    vectors: Tensor


class SV3D(VideoGenerator):
    """Views are in our order everywhere; only the U-Net sees them in that of frames."""

    def __init__(self, config: Settings, size_px: int, access: CheckpointAccess = CheckpointAccess()) -> None:
        """size_px: of the views, unless the settings name one. UserError if latents do not fit it."""
        super().__init__(config, config.unet, size_px, vector_dim(config.told), access)
        self.config = config

    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        image = resized(image, self.size_px)
        vectors = view_vectors(cameras, self.config.told, self.config.turn, self.config.noise_level)
        return Condition(self.tokens(image), self.encode_rows(image), vectors)

    def unconditional(self, condition: Condition) -> Condition:
        zeros = torch.zeros_like(condition.tokens), torch.zeros_like(condition.latents)
        return Condition(*zeros, condition.vectors)

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        order = frame_order(z_t.shape[1], self.config.turn)
        frames = self.denoise(
            z_t[:, order], timesteps, condition.tokens, condition.latents, condition.vectors[:, order]
        )
        places = sorted(range(len(order)), key=order.__getitem__)
        return frames[:, places]

    def guide(self, unconditional: Tensor, conditional: Tensor, guidance: Guidance) -> Tensor:
        """A number is the weight of the view behind the object; the others have less (`triangle`)."""
        if not isinstance(guidance, Tensor):
            guidance = triangle(conditional.shape[1], guidance, self.config.turn).to(conditional)
        return super().guide(unconditional, conditional, guidance)


def build(network: Mapping[str, object], size_px: int, access: CheckpointAccess = CheckpointAccess()) -> SV3D:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return SV3D(Settings.model_validate(network), size_px, access)
