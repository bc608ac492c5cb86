"""The world of the networks, and what they are told of cameras there: rays and where points fall.

GeoLRM (github alibaba-yuanjing-aigclab/GeoLRM) sees z-up worlds with the object in the box [-0.5, 0.5]^3. Its
cameras have OpenGL axes, and it mirrors u after dividing by a depth that is negative in front of them: in our
OpenCV axes that is the ordinary projection, so that nothing but the scale differs from our world.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians

BOX = 0.5
"""Half side of the box."""


@dataclass(frozen=True)
class Frame:
    """Cameras (B, V, 4, 4) in the networks' world; scale (B,): that world's lengths over ours."""

    cameras: Cameras
    scale: Tensor

    def back(self, gaussians: Gaussians) -> Gaussians:
        """Gaussians (B, N) of the networks' world in ours."""
        scale = self.scale[:, None, None]
        return replace(gaussians, means=gaussians.means / scale, scales=gaussians.scales / scale)


def to_frame(cameras: Cameras, radius: float | None) -> Frame:
    """Cameras (B, V, 4, 4), the input view first, which comes to distance `radius`; None: lengths halve."""
    distance = cameras.positions[:, 0].norm(dim=-1)
    scale = torch.full_like(distance, BOX) if radius is None else radius / distance
    centres = scale[:, None, None, None] * cameras.c2w[..., :3, 3:]
    top = torch.cat([cameras.c2w[..., :3, :3], centres], -1)
    return Frame(replace(cameras, c2w=torch.cat([top, cameras.c2w[..., 3:, :]], -2)), scale)


def rays(cameras: Cameras) -> Tensor:
    """(B, V, 6, H, W): directions of depth 1, and origin x direction."""
    origins, directions = cameras.rays()
    forward = cameras.c2w[..., :3, 2, None, None]
    directions = directions / (directions * forward).sum(-3, keepdim=True)
    return torch.cat([directions, torch.cross(origins, directions, dim=-3)], -3)


def project(cameras: Cameras, points: Tensor) -> Tensor:
    """Points (B, S, 3) -> (B, V, S, 2): u to the right and v down, in [0, 1] within the view."""
    w2c = cameras.w2c
    local = torch.einsum("bvij,bsj->bvsi", w2c[..., :3, :3], points) + w2c[..., None, :3, 3]
    focal = cameras.focal_px / local.new_tensor([cameras.width, cameras.height])
    return focal * local[..., :2] / local[..., 2:] + 0.5
