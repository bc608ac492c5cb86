"""What Ouroboros3D's network sees of a 3D model: its renderings and maps of where their pixels lie.

Facts of the design (github Costwen/Ouroboros3D, src/utils/geometry.py; its rasteriser, github
ashawkey/diff-gaussian-rasterization, gives the same depth as ours: a sum weighted by alpha, not divided).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from aligncvc.models.generators.latent import resized
from aligncvc.splat import Rendering

RELEASED_SCALE, TRUE_SCALE = 0.001, 0.5


def at_side(drawn: Rendering, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Colours, alpha and depth (B, V, C, side, side) of what was drawn, float32."""
    batch_and_views = drawn.rgb.shape[:2]
    return tuple(
        resized(part.flatten(0, 1).float(), side).unflatten(0, batch_and_views)
        for part in (drawn.rgb, drawn.alpha, drawn.depth)
    )  # type: ignore[return-value]


def coordinate_maps(
    depth: Tensor, alpha: Tensor, c2w: Tensor, focal: float, form: Literal["released", "true"]
) -> Tensor:
    """Depth, alpha (B, V, 1, H, W), poses (B, V, 4, 4) -> positions (B, V, 3, H, W) in [0, 1], empty 0.5.

    depth and poses are in the network's world; focal: length as a share of the image's side. true: x / 2 +
    0.5, so [-1, 1] becomes [0, 1]. released: what the weights know. It takes numbers of pixels for shares of
    the image's side, which makes positions about 512 times too wide, then x / 1000 + 0.5, clamped.
    """
    height, width = depth.shape[-2:]
    rows, columns = (torch.arange(n, dtype=depth.dtype, device=depth.device) for n in (height, width))
    seen = depth[:, :, 0]
    scale = RELEASED_SCALE
    if form == "true":
        rows, columns, scale = (rows + 0.5) / height, (columns + 0.5) / width, TRUE_SCALE
        seen = seen / alpha[:, :, 0].clamp_min(1e-6)
    y, x = torch.meshgrid((rows - 0.5) / focal, (columns - 0.5) / focal, indexing="ij")
    # elementwise rather than a matmul: autocast must not round geometry
    right, down, forward, centre = (c2w[..., :3, i, None, None] for i in range(4))
    positions = seen[:, :, None] * (x * right + y * down + forward) + centre
    return (positions * (depth > 0) * scale + 0.5).clamp(0, 1)
