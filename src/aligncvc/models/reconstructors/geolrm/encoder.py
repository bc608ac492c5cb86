"""Image features at two levels: DINOv2's, enlarged, and a convolution of pixels and rays."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Dinov2Backbone, Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from aligncvc.models.reconstructors.geolrm.settings import Settings

Shapes = list[tuple[int, int]]
"""(height, width) of each level, in the order in which their pixels follow each other."""


class OffsetPositions(Dinov2Embeddings):
    """Resizes positions by a factor a little too large, as facebookresearch/dinov2 does against rounding."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """embeddings (N, 1 + patches, C) of a view -> positions (1, 1 + patches, C)."""
        patch = self.patch_embeddings.patch_size
        grid = round((self.position_embeddings.shape[1] - 1) ** 0.5)
        rows, columns = height // patch[0], width // patch[1]
        if (rows, columns) == (grid, grid):
            return self.position_embeddings
        own, patches = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        factors = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        patches = patches.unflatten(1, (grid, grid)).permute(0, 3, 1, 2).float()
        resized = F.interpolate(patches, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([own, resized.flatten(2).transpose(1, 2).to(own.dtype)], 1)


class Encoder(nn.Module):
    """Views with their rays -> a sequence of feature pixels, the fine level first."""

    def __init__(self, config: Settings) -> None:
        super().__init__()
        backbone, width = Dinov2Config(**config.backbone.model_dump()), config.features
        self.model = Dinov2Backbone(backbone)
        if config.positions == "offset":
            self.model.embeddings = OffsetPositions(backbone)
        for layer in self.model.encoder.layer:  # how they recompute once `checkpoint_gradients` makes them
            layer._gradient_checkpointing_func = partial(  # type: ignore[assignment]
                checkpoint, use_reentrant=False
            )
        enlarge = nn.ConvTranspose2d(backbone.hidden_size, width, 4, stride=2, padding=1, bias=False)
        self.deconv = nn.Sequential(enlarge, nn.BatchNorm2d(width))
        embed = nn.Conv2d(9, width, 4, stride=4, bias=False)
        self.low_level_encoder = nn.Sequential(embed, nn.BatchNorm2d(width))

    def forward(self, pixels: Tensor, rays: Tensor) -> tuple[Tensor, Shapes]:
        """Normalised pixels (B, V, 3, H, W), rays (B, V, 6, H, W) -> features (B, V, L, C), their shapes."""
        views, layers = pixels.shape[:2], self.model.encoder.layer
        # transformers recomputes in training mode only, which without dropout changes nothing else
        layers.train(self.training or any(layer.gradient_checkpointing for layer in layers))
        (found,) = self.model(pixels.flatten(0, 1)).feature_maps
        low = self.low_level_encoder(torch.cat([pixels, rays], 2).flatten(0, 1))
        levels = [low, self.deconv(found)]
        sequence = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
        return sequence.unflatten(0, views), [(level.shape[-2], level.shape[-1]) for level in levels]
