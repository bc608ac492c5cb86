"""The adapter that turns an image of each view into features of the U-Net's resolutions.

Facts of the design (github Costwen/Ouroboros3D, src/models/unet/adaptor.py, after T2I-Adapter, arXiv
2302.08453): pixels are folded into channels down to the latents' size, then three residual blocks a level.
Keys are those of its checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 3


class AdapterBlock(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution that starts at zero, added to its input."""

    def __init__(self, c_in: int, c_out: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.in_conv = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None
        self.block1 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.block2 = nn.Conv2d(c_out, c_out, 1)
        nn.init.zeros_(self.block2.weight)
        nn.init.zeros_(self.block2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2) if self.halves else x
        x = x if self.in_conv is None else self.in_conv(x)
        return x + self.block2(F.relu(self.block1(x)))


class Adapter(nn.Module):
    """(N, 3, H, W) -> a feature a level, (N, C, h, w): the finest at H / factor, each next at half of it."""

    def __init__(self, channels: Sequence[int], factor: int) -> None:
        """channels: of the U-Net's levels. factor: how many times smaller than pixels its latents are."""
        super().__init__()
        self.factor = factor
        self.conv_in = nn.Conv2d(3 * factor**2, channels[0], 3, padding=1)
        self.body = nn.ModuleList(
            AdapterBlock(channels[max(0, level - (n == 0))], width, halves=level > 0 and n == 0)
            for level, width in enumerate(channels)
            for n in range(BLOCKS)
        )

    def forward(self, maps: Tensor) -> list[Tensor]:
        x = self.conv_in(F.pixel_unshuffle(maps.to(self.conv_in.weight.dtype), self.factor))
        features = []
        for number, block in enumerate(self.body, start=1):
            x = block(x)
            if number % BLOCKS == 0:
                features.append(x)
        return features
