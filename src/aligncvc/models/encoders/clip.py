"""CLIP's image tower (Radford et al. 2021, arXiv 2103.00020), from the local file of the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.encoders.frozen import Frozen, Level, LevelEncoder
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.weights import load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_BATCH = 16
AFTER_BLOCKS = (4, 8)
"""The blocks of ViT-B/32's twelve after which nupurkmr9/vision-aided-gan takes the tokens."""


class ClipImageEncoder(Frozen):
    """Images to points on CLIP's unit sphere."""

    tower: Any  # with and without projection, transformers has two classes

    def __init__(self, projected: bool = True, **architecture: Any) -> None:
        """projected: with the layer behind the tower. architecture: what differs from ViT-B/32."""
        from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

        super().__init__()
        kind = CLIPVisionModelWithProjection if projected else CLIPVisionModel
        self.tower = kind(CLIPVisionConfig(**architecture))
        self.size_px = int(architecture.get("image_size", 224))
        self.keep_colours(_COLOURS)
        self.freeze()

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, D) of length 1; resized by the shorter side and centre-cropped."""
        return torch.cat([self._embed(part.float()) for part in images.split(_BATCH)])

    def _embed(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        scale = self.size_px / min(height, width)
        size = (max(self.size_px, round(height * scale)), max(self.size_px, round(width * scale)))
        if size != (height, width):
            images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        top, left = (size[0] - self.size_px) // 2, (size[1] - self.size_px) // 2
        cropped = images[..., top : top + self.size_px, left : left + self.size_px].clamp(0, 1)
        features = self.tower(pixel_values=(cropped - self.mean) / self.std).image_embeds
        return F.normalize(features, dim=-1)


def load_clip(
    checkpoint_id: str = "clip-vit-b32", access: CheckpointAccess = CheckpointAccess()
) -> ClipImageEncoder:
    """The image tower of a CLIP in the ledger, whose `network` says what differs from ViT-B/32."""
    whole = resolved_state(checkpoint_id, access)
    architecture = load_ledger(access.ledger).entry(checkpoint_id).network or {}
    model = ClipImageEncoder(**{k: v for k, v in architecture.items() if k != "kind"})
    state = {
        key: value.float()
        for key, value in whole.items()
        if key.startswith(("vision_model.", "visual_projection."))
        and not key.endswith(".position_ids")  # a constant that older releases stored
    }
    load_strict(model.tower, state)
    return model


class ClipLevels(LevelEncoder):
    """The tower as vision-aided GAN reads it (arXiv 2112.09130): float32 token maps, then the embedding."""

    def __init__(self, encoder: ClipImageEncoder, after_blocks: Sequence[int] = AFTER_BLOCKS) -> None:
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
        self.freeze()

    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> a (N, C, grid, grid) for each block, then (N, D, 1, 1); resized, never clamped."""
        size = (self.input_px, self.input_px)
        images = images.float()
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        pixels = (images - self.encoder.mean) / self.encoder.std
        found = self.encoder.tower(pixel_values=pixels, output_hidden_states=True)
        # hidden_states[0] is what the first block gets, hidden_states[n] what the n-th gives
        tokens = [found.hidden_states[block][:, 1:] for block in self.after_blocks]
        maps = [t.transpose(1, 2).unflatten(2, (self.grid, self.grid)) for t in tokens]
        return [*maps, found.image_embeds[:, :, None, None]]
