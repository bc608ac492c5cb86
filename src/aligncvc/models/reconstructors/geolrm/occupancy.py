"""Where the object is: the network that proposes voxels, and which of them become tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aligncvc.models.reconstructors.geolrm.encoder import Encoder
from aligncvc.models.reconstructors.geolrm.frames import BOX, project, rays
from aligncvc.models.reconstructors.geolrm.settings import Settings
from aligncvc.models.reconstructors.geolrm.transformer import GeoTransformer
from aligncvc.scene.cameras import Cameras
from aligncvc.streams import torch_stream


def centres(axis: Tensor, index: Tensor) -> Tensor:
    """Points (..., 3) of a cubic grid with coordinates `axis` (G,), by flat index (...) in order x, y, z."""
    side = len(axis)
    parts = [index // side**2, index // side % side, index % side]
    return torch.stack([axis[part] for part in parts], -1)


class Proposal(nn.Module):
    """Posed views -> occupancy logits of the voxels: one token a cell, at the corners of a coarser grid."""

    coarse: Tensor
    fine: Tensor

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.transformer = GeoTransformer(config.proposal, config, BOX)
        self.upsample = nn.Linear(config.proposal.dim, config.cell**3)
        for name, side in (("coarse", config.grid // config.cell), ("fine", config.grid)):
            self.register_buffer(name, torch.linspace(-1, 1, side) * BOX, persistent=False)

    def forward(self, pixels: Tensor, cameras: Cameras) -> Tensor:
        """Normalised pixels (B, V, 3, H, W), cameras of the networks' world -> logits (B, G, G, G).

        The axes are x, y, z; voxel i of each stands at `fine[i]`. Both grids reach from -0.5 to 0.5.
        """
        cell, count = self.config.cell, len(self.coarse)
        index = torch.arange(count**3, device=self.coarse.device)
        points = centres(self.coarse, index).expand(len(pixels), -1, -1)
        with torch.autocast(pixels.device.type, enabled=False):
            beams, at = rays(cameras), project(cameras, points)
        features, shapes = self.encoder(pixels, beams)
        logits = self.upsample(self.transformer(points, features, shapes, at))
        cells = logits.unflatten(1, (count,) * 3).unflatten(-1, (cell,) * 3)
        return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, *(self.config.grid,) * 3)

    def tokens(self, logits: Tensor) -> Tensor:
        """Logits (G, G, G) of one object -> points (S, 3) of its tokens, S <= max_tokens.

        Voxels with a logit above 0; if there are none, the likeliest.
        """
        limit, flat = self.config.max_tokens, logits.flatten()
        occupied = (flat > 0).nonzero()[:, 0]
        if self.config.tokens == "shuffled" and len(occupied) >= limit:
            order = torch.randperm(len(occupied), generator=torch_stream(self.config.seed, "tokens"))
            occupied = occupied[order[:limit].to(occupied.device)]
        elif not 0 < len(occupied) <= limit:
            occupied = flat.argsort(descending=True, stable=True)[:limit].sort().values
        points = centres(self.fine, occupied)
        if self.config.pad_tokens:
            points = torch.cat([points, points.new_zeros(limit - len(points), 3)])
        return points
