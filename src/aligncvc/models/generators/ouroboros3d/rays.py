"""What Ouroboros3D's network sees of its cameras: Plucker rays at each resolution, as harmonic features.

Facts of the design (github Costwen/Ouroboros3D, src/models/unet/mv_unet.py and src/utils/project.py). Poses
are OpenCV camera-to-world in its own world (`scene.camera_formats.to_first_camera`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from aligncvc.scene.cameras import Cameras

FREQUENCIES = 6
RAY_CHANNELS = 6 * (2 * FREQUENCIES + 1)
"""Six Plucker coordinates, each with a sine and a cosine a frequency and itself."""


def plucker(c2w: Tensor, focal: float, side: int, form: Literal["released", "true"]) -> Tensor:
    """Poses (B, V, 4, 4), focal length as a share of the image's side -> (B, V, side, side, 6): (o x d, d).

    true: the rays through pixel centres. released: not rays of the camera, but what the weights know. Rows
    and columns are swapped, the rotation is transposed, and the camera's centre is subtracted from a
    direction that it was not added to: d = normalise(R^T (row, column, 1) - o).
    """
    c2w = c2w.float()
    if form == "true":
        fov_deg = float(2 * torch.tensor(0.5 / focal).atan().rad2deg())
        return Cameras(c2w, fov_deg, side, side).plucker().permute(0, 1, 3, 4, 2)
    ticks = ((torch.arange(side, dtype=c2w.dtype, device=c2w.device) + 0.5) / side - 0.5) / focal
    row, column = torch.meshgrid(ticks, ticks, indexing="ij")
    # elementwise rather than a matmul: autocast must not round geometry
    first, second, third = (c2w[..., i, None, None, :3] for i in range(3))
    origins = c2w[..., None, None, :3, 3].expand(*c2w.shape[:2], side, side, 3)
    directions = row[..., None] * first + column[..., None] * second + third - origins
    directions = directions / directions.norm(dim=-1, keepdim=True)
    return torch.cat([torch.cross(origins, directions, dim=-1), directions], -1)


def harmonics(x: Tensor) -> Tensor:
    """(..., C) -> (..., 13 C): all sines, all cosines, then x itself; frequencies 1, 2, 4 .. 32."""
    scaled = (x[..., None] * 2.0 ** torch.arange(FREQUENCIES, device=x.device)).flatten(-2)
    return torch.cat([scaled.sin(), scaled.cos(), x], -1)


class RayFeatures(nn.Module):
    """Harmonic features (B, V, h, w, RAY_CHANNELS) -> (B V, C, h, w), to be added to hidden states."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = nn.Linear(RAY_CHANNELS, channels), nn.Linear(channels, channels)
        self.embed = nn.Sequential(first, nn.SiLU(), second)

    def forward(self, rays: Tensor) -> Tensor:
        return self.embed(rays.flatten(0, 1)).permute(0, 3, 1, 2)
