"""How large an object appears: pictures padded or cropped to another field of view from the same place.

Networks are trained with cameras of their own. What decides how large an object is in their views is the half
width that a view covers at the object's centre, r tan(fov / 2), in units of the object's size. Views keep
their places in the world here and change their field of view, so that both half widths agree: exact for every
point, whatever its depth, since the centre of projection stays.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from aligncvc.scene.cameras import Cameras
from aligncvc.scene.rigs import half_width


def at_field_of_view(
    images: Tensor, cameras: Cameras, fov_y_deg: float, background: float = 1.0
) -> tuple[Tensor, Cameras]:
    """Square images (..., C, H, W) as the same cameras see with another field of view, at the same size.

    What lies outside is `background` (transparent for C = 4, straight alpha). Differentiable.
    """
    ratio = half_width(1, fov_y_deg) / half_width(1, cameras.fov_y_deg)
    if abs(ratio - 1) < 1e-9:
        return images, cameras
    rgba = images.shape[-3] == 4
    if rgba:  # colours are premultiplied for resampling, so that what lies under no alpha does not bleed in
        images = torch.cat([images[..., :3, :, :] * images[..., 3:, :, :], images[..., 3:, :, :]], -3)
    weights = resampling(images.shape[-1], ratio).to(images)
    inside = weights.sum(1)
    found = weights @ images @ weights.T
    if rgba:
        colour, alpha = found[..., :3, :, :], found[..., 3:, :, :]
        found = torch.cat([colour / alpha.clamp_min(1e-4), alpha], -3).clamp(0, 1)
    else:
        found = found + (1 - inside[:, None] * inside) * background
    return found, replace(cameras, fov_y_deg=fov_y_deg)


def resampling(side: int, ratio: float, count: int | None = None) -> Tensor:
    """(count, side): `count` pixels, each as wide as `ratio` of this view's; rows sum to 1 inside.

    Both have one centre. Bilinear where the picture grows, a triangle as wide as the new pixels where it
    shrinks. count: as many as there are, if left out.
    """
    count = side if count is None else count
    reach = max(1.0, ratio)
    margin = math.ceil(reach + max(0.0, count * ratio - side) / 2)
    centres = torch.arange(-margin, side + margin, dtype=torch.float64) + 0.5
    wanted = (torch.arange(count, dtype=torch.float64) + 0.5 - count / 2) * ratio + side / 2
    weights = (1 - (centres - wanted[:, None]).abs() / reach).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True))[:, margin : margin + side]
