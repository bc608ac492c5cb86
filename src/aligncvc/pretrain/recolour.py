"""Other colours for rendered objects: many pieces of the furniture package are white or grey."""

from __future__ import annotations

import torch
from torch import Tensor


def recoloured(rgba: Tensor, generator: torch.Generator, share: float = 0.5) -> Tensor:
    """Give `share` of the objects (B, V, 4, H, W) in [0, 1] other colours, the same in all their views.

    Their channels are permuted, their gamma changed, and their light and dark parts tinted apart.
    """
    out = rgba.clone()
    for i in range(rgba.shape[0]):
        chosen, gamma, threshold = torch.rand(3, generator=generator).tolist()
        order = torch.randperm(3, generator=generator)
        light, dark = saturated(2, generator)
        if chosen >= share:
            continue
        colours = rgba[i, :, order].clamp_min(1e-4) ** (0.6 + 0.8 * gamma)
        brightness = colours.mean(1, keepdim=True)
        blend = torch.sigmoid(10 * (brightness - 0.2 - 0.6 * threshold))
        tint = blend * light.view(1, 3, 1, 1) + (1 - blend) * dark.view(1, 3, 1, 1)
        out[i, :, :3] = colours * tint
    return out


def saturated(count: int, generator: torch.Generator) -> Tensor:
    """(count, 3) random colours in [0, 1] whose brightest channel is at least 0.5, most of them saturated."""
    hue, saturation, value = torch.rand(3, count, generator=generator)
    phase = (hue[:, None] + torch.tensor([0.0, 1 / 3, 2 / 3])) % 1
    pure = (2 - 6 * (phase - 0.5).abs()).clamp(0, 1)  # a hexagon of hues, as in HSV
    return (0.5 + 0.5 * value[:, None]) * (1 - saturation[:, None].sqrt() * (1 - pure))
