"""Wonder3D's U-Net, told of the last step's 3D model: Ouroboros3D's condition at a small cost.

After Ouroboros3D (arXiv 2406.03184), which shows its generator renderings of the 3D model and maps of where
their pixels lie. There a whole video U-Net learns to read them; here the U-Net is frozen, and a small network
adds features to what its first convolution says. Without a 3D model the output is the U-Net's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from aligncvc.models.generators.base import TakesMaps, Tree
from aligncvc.models.generators.latent import resized
from aligncvc.models.generators.ouroboros3d.adapters import BLOCKS, AdapterBlock
from aligncvc.models.generators.ouroboros3d.maps import at_side, coordinate_maps
from aligncvc.models.generators.wonder3d import network as wonder3d
from aligncvc.models.generators.wonder3d.settings import Settings as Wonder3DSettings
from aligncvc.models.generators.wonder3d_maps.settings import Settings
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.cameras import Cameras
from aligncvc.splat import Rendering

POSITIONS = 3
"""Channels of a map beside the rendering's latents: where its pixels lie."""


@dataclass(frozen=True)
class Condition(wonder3d.Condition):
    """maps (B, V, C + 3, h, w): latents of the renderings, and positions in [0, 1] of what they show.

    shown (B,): 1 where there is a 3D model, 0 where there is none yet.
    """

    maps: Tensor
    shown: Tensor


class MapsReader(nn.Module):
    """Maps (N, C + 3, h, w) -> features (N, F, h, w), zeros before training."""

    def __init__(self, maps: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(maps, hidden, 3, padding=1)
        self.body = nn.Sequential(*(AdapterBlock(hidden, hidden, halves=False) for _ in range(BLOCKS)))
        self.conv_out = nn.Conv2d(hidden, channels, 1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv_out(self.body(self.conv_in(maps)))


class ToldConv(nn.Conv2d):
    """A convolution whose input ends with what is added to its output. Its weights are an ordinary one's."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Self:
        told = cls(conv.in_channels, conv.out_channels, 3, padding=1)
        told.load_state_dict(conv.state_dict())
        return told

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[:, : self.in_channels]) + input[:, self.in_channels :]


class MapsWonder3D(wonder3d.Wonder3D, TakesMaps):
    """As Wonder3D; guidance's unconditional branch sees the maps too, and both domains see the same."""

    def __init__(self, config: Settings, size_px: int, access: CheckpointAccess = CheckpointAccess()) -> None:
        super().__init__(Wonder3DSettings(**config.model_dump(exclude={"maps_hidden"})), size_px, access)
        channels = self.unet.conv_in.out_channels
        self.unet.conv_in = ToldConv.of(self.unet.conv_in)
        self.maps = MapsReader(self.latent_channels + POSITIONS, config.maps_hidden, channels)

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "maps": self.maps}

    @torch.no_grad()
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        own = super().encode_condition(image, cameras)
        views, _, *side = self.latent_shape(cameras.shape[1])
        maps = image.new_zeros(len(image), views, self.latent_channels + POSITIONS, *side)
        return Condition(own.tokens, own.latents, own.cameras, maps, image.new_zeros(len(image)))

    def unconditional(self, condition: Condition) -> Condition:  # type: ignore[override]
        free = super().unconditional(condition)
        return replace(condition, tokens=free.tokens, latents=free.latents)

    def with_maps(self, condition: Tree, drawn: Rendering, cameras: Cameras) -> Condition:
        """Positions are x / 2 + 0.5 of what lies in [-1, 1], as seen from the input camera's azimuth."""
        rgb, alpha, depth = at_side(drawn, self.size_px)
        focal = 0.5 / math.tan(math.radians(cameras.fov_y_deg) / 2)
        c2w = cameras.c2w.expand(len(rgb), -1, -1, -1).float()
        positions = coordinate_maps(depth, alpha, c2w, focal, "true").flatten(0, 1)
        small = resized(positions, self.size_px // self.factor).unflatten(0, rgb.shape[:2])
        with torch.no_grad():
            maps = torch.cat([self._encode(rgb.clamp(0, 1)).float(), small], 2)
        return replace(condition, maps=maps, shown=maps.new_ones(len(maps)))

    def first_rows(self, z_t: Tensor, condition: Tree) -> Tensor:
        """As Wonder3D's, and behind them what the maps add to the first convolution's output."""
        rows, shown = super().first_rows(z_t, condition), condition.shown.view(-1, 1, 1, 1, 1)
        read = self.maps(condition.maps.flatten(0, 1)).unflatten(0, z_t.shape[:2])
        told = (shown * read).flatten(0, 1).repeat(len(self.domains), 1, 1, 1)
        return torch.cat([rows, told.to(rows)], dim=1)


def build(
    network: Mapping[str, Any], size_px: int, access: CheckpointAccess = CheckpointAccess()
) -> MapsWonder3D:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return MapsWonder3D(Settings.model_validate(network), size_px, access)
