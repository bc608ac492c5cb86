"""From what is known of a token to its Gaussians."""

from __future__ import annotations

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.models.reconstructors.geolrm.settings import Settings
from aligncvc.scene.gaussians import Gaussians

SPLIT = (3, 1, 3, 4, 3)
"""Channels of a Gaussian: offset, opacity, scale, rotation and colour."""
PLASTIC = 1.2207440846
"""The root of x^4 = x + 1: its powers give the evenest steps in three dimensions."""


def spread(count: int) -> Tensor:
    """(count, 3) points that fill the unit cube evenly, whatever the count: a Kronecker sequence."""
    steps = torch.tensor([PLASTIC**-axis for axis in (1, 2, 3)])
    return (0.5 + steps * torch.arange(count)[:, None]) % 1


class GaussianHead(nn.Module):
    """Gaussians beside each token, on the positive side of each axis or on both."""

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config
        width = sum(SPLIT) * config.gaussians_per_token
        last = nn.Linear(width, width)
        self.latent_decoder = nn.Sequential(nn.Linear(config.reconstruction.dim, width), nn.SiLU(), last)
        with torch.no_grad():  # a token's Gaussians start apart: of those that start as one, most fade
            offsets = last.bias.view(-1, sum(SPLIT))[:, : SPLIT[0]]
            offsets.copy_(spread(len(offsets)).clamp(0.1, 0.9).logit())

    def forward(self, points: Tensor, latents: Tensor) -> Gaussians:
        """points (B, S, 3), latents (B, S, C) -> Gaussians (B, S gaussians_per_token), token by token."""
        # positions and rotations need float32 even where the network runs in bfloat16
        raw = self.latent_decoder(latents).to(points).unflatten(-1, (-1, sum(SPLIT)))
        offset, opacity, scale, rotation, colour = raw.split(SPLIT, -1)
        share = offset.sigmoid() if self.config.offsets == "positive" else 2 * offset.sigmoid() - 1
        return Gaussians(
            means=(points[:, :, None] + self.config.offset_max * share).flatten(1, 2),
            scales=(self.config.scale_max * scale.sigmoid()).flatten(1, 2),
            quats=F.normalize(rotation, dim=-1).flatten(1, 2),
            opacities=opacity[..., 0].sigmoid().flatten(1, 2),
            colors=(colour.clamp(-0.5, 0.5) + 0.5).flatten(1, 2),
        )


def together(objects: list[Gaussians]) -> Gaussians:
    """Objects (1, N_b) of different N_b -> (B, N): the shorter ones end in Gaussians of opacity 0."""
    longest = max(map(len, objects))
    like = objects[0].means
    filler = Gaussians(
        means=like.new_zeros(3),
        scales=like.new_full((3,), 1e-3),
        quats=like.new_tensor([1, 0, 0, 0]),
        opacities=like.new_zeros(()),
        colors=like.new_zeros(3),
    )

    def member(name: str) -> Tensor:
        fill: Tensor = getattr(filler, name)
        own = [getattr(g, name)[0] for g in objects]
        return torch.stack([torch.cat([x, fill.expand(longest - len(x), *fill.shape)]) for x in own])

    return Gaussians(*(member(f.name) for f in fields(Gaussians)))
