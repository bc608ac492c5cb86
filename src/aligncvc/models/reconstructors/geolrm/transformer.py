"""The transformer over tokens in space that both networks have."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aligncvc.models.reconstructors.geolrm.attention import CrossAttention, SelfAttention
from aligncvc.models.reconstructors.geolrm.encoder import Shapes
from aligncvc.models.reconstructors.geolrm.settings import Settings, Transformer

NORM_EPS = 1e-5


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.w1, self.w3 = nn.Linear(dim, width, bias=False), nn.Linear(dim, width, bias=False)
        self.w2 = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Self-attention, deformable cross-attention to the views, feed-forward; each normalised before."""

    def __init__(self, sizes: Transformer, config: Settings) -> None:
        super().__init__()
        dim = sizes.dim
        self.self_attention = SelfAttention(dim, sizes.heads, config.self_attention)
        self.cross_attention = CrossAttention(dim, config.features, sizes.heads, config.points)
        self.feed_forward = FeedForward(dim, sizes.feed_forward)
        self.self_attention_norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.cross_attention_norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.ffn_norm = nn.RMSNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor, index: Tensor, features: Tensor, shapes: Shapes, at: Tensor) -> Tensor:
        x = x + self.self_attention(self.self_attention_norm(x), index)
        x = self.cross_attention(self.cross_attention_norm(x), features, shapes, at)
        return x + self.feed_forward(self.ffn_norm(x))


class GeoTransformer(nn.Module):
    """Points in space and the views' features -> what the views say of the points."""

    def __init__(self, sizes: Transformer, config: Settings, half_side: float) -> None:
        """half_side: of the box in which the points' voxels are counted."""
        super().__init__()
        self.grid, self.half_side = config.grid, half_side
        self.query_token = nn.Parameter(torch.randn(1, 1, sizes.dim - 3))
        self.layers = nn.ModuleList(Block(sizes, config) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.dim, eps=NORM_EPS)
        self.gradient_checkpointing = False
        """Recompute the blocks' activations in the backward pass: less memory, one more forward pass."""

    def voxels(self, points: Tensor) -> Tensor:
        """(..., 3) points -> integers. The order of operations counts: rounding moves some one voxel down."""
        return ((points / self.half_side + 1) * (self.grid - 1) / 2).long()

    def forward(self, points: Tensor, features: Tensor, shapes: Shapes, at: Tensor) -> Tensor:
        """points (B, S, 3), features (B, V, L, F), at (B, V, S, 2) as projected -> (B, S, C)."""
        x = torch.cat([points, self.query_token.to(points).expand(*points.shape[:2], -1)], -1)
        index = self.voxels(points)
        for block in self.layers:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, index, features, shapes, at, use_reentrant=False)
            else:
                x = block(x, index, features, shapes, at)
        return self.norm(x)
