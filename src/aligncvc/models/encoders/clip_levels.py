"""CLIP's image tower at several levels, as vision-aided GAN reads it (arXiv 2112.09130)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.levels import Level, LevelEncoder

AFTER_BLOCKS = (4, 8)
"""The blocks of ViT-B/32's twelve after which nupurkmr9/vision-aided-gan takes the tokens."""


class ClipLevels(LevelEncoder):
    """Token maps after some blocks, without the class token, and then the projected image embedding; frozen.

    ViT-B/32: 768 x 7 x 7 twice and 512 x 1 x 1. The embedding is not normalised. Weights stay as they are
    loaded (float32); bfloat16 comes from autocast.
    """

    def __init__(self, encoder: ClipImageEncoder, after_blocks: Sequence[int] = AFTER_BLOCKS) -> None:
        """Raises UserError if the tower has fewer blocks."""
        super().__init__()
        vision: Any = encoder.tower.config  # its types allow what ViTs of CLIP do not have
        if not all(0 < block <= vision.num_hidden_layers for block in after_blocks):
            raise UserError(
                f"a discriminator reads CLIP's tower after blocks {list(after_blocks)} and this one has "
                f"{vision.num_hidden_layers}; use the checkpoint clip-vit-b32"
            )
        self.encoder = encoder
        self.after_blocks = tuple(after_blocks)
        self.input_px = encoder.size_px
        self.grid = vision.image_size // vision.patch_size
        maps = [Level(vision.hidden_size) for _ in self.after_blocks]
        self.levels = (*maps, Level(vision.projection_dim, spatial=False))
        self.requires_grad_(False)
        self.eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), nominally in [0, 1] -> a (N, C, grid, grid) for each block, then (N, D, 1, 1).

        Images of another size are resized to the tower's (bilinear, antialiased: it does not overshoot).
        Nothing is clamped, so that augmented values keep their gradient.
        """
        size = (self.input_px, self.input_px)
        images = images.float()
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        pixels = (images - self.encoder.mean) / self.encoder.std
        found = self.encoder.tower(pixel_values=pixels, output_hidden_states=True)
        # hidden_states[0] is what the first block gets, hidden_states[n] what the n-th gives
        maps = [self._map(found.hidden_states[block]) for block in self.after_blocks]
        return [*maps, found.image_embeds[:, :, None, None]]

    def _map(self, tokens: Tensor) -> Tensor:
        """(N, 1 + grid^2, C) -> (N, C, grid, grid), row by row."""
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
