"""Attention of tokens in space: among themselves, and to the points of the views that they fall on."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aligncvc.models.reconstructors.geolrm.encoder import Shapes

ROPE_BASE = 1e4


def turn(x: Tensor, index: Tensor) -> Tensor:
    """Rotary positions in space: heads (B, S, heads, D) of tokens at voxels (B, S, 3), D a multiple of 6.

    A third of D belongs to each of x, y, z; in it number d turns with number d + D/6 by index / base^(6 d/D).
    """
    count = x.shape[-1] // 6
    frequencies = ROPE_BASE ** -(torch.arange(count, device=x.device, dtype=torch.float32) / count)
    angles = (index[..., None] * frequencies)[:, :, None]  # (B, S, 1, 3, D/6)
    cos, sin = angles.cos(), angles.sin()
    u, v = x.unflatten(-1, (3, 2, count)).unbind(-2)
    return torch.stack([u * cos - v * sin, v * cos + u * sin], -2).flatten(-3).to(x.dtype)


class SelfAttention(nn.Module):
    """Of tokens (`between` tokens), or of the heads of each token (`between` heads; see Settings)."""

    def __init__(self, dim: int, heads: int, between: Literal["heads", "tokens"]) -> None:
        super().__init__()
        self.heads, self.between = heads, between
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """x (B, S, C), voxels (B, S, 3) -> (B, S, C)."""
        q, k, v = (w(x).unflatten(-1, (self.heads, -1)) for w in (self.wq, self.wk, self.wv))
        if self.between == "tokens":
            q, k, v = (part.transpose(1, 2) for part in (turn(q, index), turn(k, index), v))
            return self.wo(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        # the heads of a token would turn alike, which changes none of their products
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, S, heads, heads)
        found = scores.float().softmax(-1).to(v.dtype) @ v
        # all tokens of a head follow each other when this is read as one row a token
        return self.wo(found.transpose(1, 2).reshape(x.shape))


def sample(values: Tensor, shapes: Shapes, at: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of values read bilinearly from one view, zero outside, as grid_sample reads them.

    values (L, heads, D); at (S, heads, levels, P, 2), (u, v) in [0, 1] within the view; weights (S, heads,
    levels, P) -> (S, heads D). One embedding bag, so that no value is kept for each of the points.
    """
    heads, width = values.shape[1:]
    sizes = at.new_tensor([[shape[::-1]] for shape in shapes])  # (levels, 1, 2): width, height
    starts = torch.tensor([0, *(h * w for h, w in shapes[:-1])], device=at.device).cumsum(0)[:, None]
    pixel = torch.minimum((at * sizes - 0.5).clamp(min=-2), sizes + 1)  # farther out is outside as well
    first = pixel.floor()
    part = pixel - first
    indices, shares = [], []
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        corner = first + at.new_tensor([dx, dy])
        inside = ((corner >= 0) & (corner < sizes)).all(-1)
        u, v = (part[..., i] if d else 1 - part[..., i] for i, d in enumerate((dx, dy)))
        shares.append(weights * u * v * inside)
        column, row = (corner.clamp(min=0).minimum(sizes - 1)).long().unbind(-1)
        indices.append((starts + row * sizes[..., 0].long() + column).int())
    head = torch.arange(heads, device=at.device, dtype=torch.int32)[:, None, None, None]
    index = torch.stack(indices, -1) * heads + head
    found = F.embedding_bag(
        index.flatten(2).flatten(0, 1),
        values.flatten(0, 1),
        mode="sum",
        per_sample_weights=torch.stack(shares, -1).flatten(2).flatten(0, 1),
    )
    return found.view(len(at), heads * width)


class DeformableAttention(nn.Module):
    """Each head reads a few points around where a token falls on a view (arXiv 2010.04159)."""

    def __init__(self, dim: int, features: int, heads: int, points: int, levels: int = 2) -> None:
        super().__init__()
        self.heads, self.levels = heads, levels
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(features, dim)
        self._look_round(points)

    def _look_round(self, points: int) -> None:
        """Start with equal weights, each head at 1, 2, .. pixels in a direction of its own."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.zeros_(self.value_proj.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        way = torch.stack([angle.cos(), angle.sin()], -1)
        way = way / way.abs().amax(-1, keepdim=True)
        steps = way[:, None, None] * torch.arange(1, points + 1)[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(steps.expand(-1, self.levels, -1, -1).flatten())

    def forward(self, query: Tensor, features: Tensor, shapes: Shapes, at: Tensor) -> Tensor:
        """query (B, S, C), features (B, V, L, F), at (B, V, S, 2) in [0, 1] -> (B, V, S, C)."""
        split = (self.heads, self.levels, -1)
        sizes = at.new_tensor([[shape[::-1]] for shape in shapes])
        offsets = self.sampling_offsets(query).to(at).unflatten(-1, (*split, 2)) / sizes
        weights = self.attention_weights(query).to(at).unflatten(-1, (self.heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, split[1:])
        values = self.value_proj(features).to(at).unflatten(-1, (self.heads, -1))

        def read(values: Tensor, at: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
            return sample(values, shapes, at[:, None, None, None] + offsets, weights)

        def look(*tensors: Tensor) -> Tensor:
            # a view at a time, what is needed backward computed again: a fraction of the memory
            if not torch.is_grad_enabled():
                return read(*tensors)
            return checkpoint(read, *tensors, use_reentrant=False, preserve_rng_state=False)

        objects = [
            torch.stack(
                [look(view, points, offsets[b], weights[b]) for view, points in zip(*seen, strict=True)]
            )
            for b, seen in enumerate(zip(values, at, strict=True))
        ]
        return torch.stack(objects)


class CrossAttention(nn.Module):
    """What each view shows of a token, weighted by what it shows, behind the query itself."""

    def __init__(self, dim: int, features: int, heads: int, points: int) -> None:
        super().__init__()
        self.deformable_attention = DeformableAttention(dim, features, heads, points)
        self.output_proj = nn.Linear(dim, dim)
        self.cross_view_weight = nn.Linear(dim, 1)
        nn.init.xavier_uniform_(self.output_proj.weight)
        nn.init.zeros_(self.output_proj.bias)

    def forward(self, query: Tensor, features: Tensor, shapes: Shapes, at: Tensor) -> Tensor:
        """As DeformableAttention, -> (B, S, C). The query that is added has been normalised."""
        seen = self.deformable_attention(query, features, shapes, at)
        share = self.cross_view_weight(seen).softmax(1)
        return self.output_proj((seen * share).sum(1)) + query
