"""How large an object appears: pictures padded or cropped to another field of view from the same place.

Networks are trained with cameras of their own. What decides how large an object is in their views is the half
width that a view covers at the object's centre, r tan(fov / 2), in units of the object's size. Views keep
their places in the world here and change their field of view, so that both half widths agree: exact for every
point, whatever its depth, since the centre of projection stays.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.scene.cameras import Cameras
from aligncvc.scene.rigs import fov_covering, half_width


def at_field_of_view(
    images: Tensor, cameras: Cameras, fov_y_deg: float, background: float = 1.0
) -> tuple[Tensor, Cameras]:
    """Square images (..., C, H, W) as the same cameras see with another field of view, at the same size.

    Padded with `background` (transparent for C = 4, straight alpha) or cropped, by whole pixels on each side,
    so that the cameras that come back have the field of view nearest to the wanted one. Differentiable.
    """
    height, width = images.shape[-2:]
    wanted = height * half_width(1, fov_y_deg) / half_width(1, cameras.fov_y_deg)
    pad = round((wanted - height) / 2)
    if pad == 0:
        return images, cameras
    rows = images.flatten(0, -4) if images.dim() > 3 else images[None]
    rgba = rows.shape[1] == 4
    if rgba:  # colours are premultiplied for resampling, so that what lies under no alpha does not bleed in
        rows = torch.cat([rows[:, :3] * rows[:, 3:], rows[:, 3:]], 1)
    padded = F.pad(rows, (pad,) * 4, value=0.0 if rgba else background)
    resized = F.interpolate(padded, (height, width), mode="bilinear", antialias=True, align_corners=False)
    if rgba:
        resized = torch.cat([resized[:, :3] / resized[:, 3:].clamp_min(1e-4), resized[:, 3:]], 1).clamp(0, 1)
    fov = fov_covering(half_width(1, cameras.fov_y_deg) * (height + 2 * pad) / height, 1)
    return resized.reshape(images.shape), replace(cameras, fov_y_deg=fov)
