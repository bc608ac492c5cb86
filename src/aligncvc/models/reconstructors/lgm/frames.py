"""The world that a reconstructor's network lives in, and the way there and back.

LGM (github 3DTopia/LGM, core/provider_objaverse.py and core/models.py) sees a y-up world in which the input
camera stands at distance 1.5 and, in training, looks along -z from the +z axis: poses are relative to the
first camera, elevation included. A similarity takes our cameras there and its Gaussians back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aligncvc.models.reconstructors.lgm.settings import Settings
from aligncvc.scene.camera_formats import from_opengl, invert_rigid, to_lgm, z_up_to_y_up
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians

LGM_RADIUS = 1.5
"""Distance of LGM's cameras from the origin (core/options.py, cam_radius)."""


@dataclass(frozen=True)
class Frame:
    """cameras (B, V, 4, 4) in the network's world, with the field of view of its rays; and the way back.

    rotation (B, 3, 3), shift (B, 3): x_ours = position_scale * (rotation @ x_network) + shift. size_scale
    (B,) of Gaussians differs only for a network trained with two fields of view (`projection_fov_y_deg`).
    """

    cameras: Cameras
    rotation: Tensor
    shift: Tensor
    position_scale: Tensor
    size_scale: Tensor

    def back(self, gaussians: Gaussians) -> Gaussians:
        """Gaussians (B, N) of the network's world in ours."""
        moved = gaussians.moved(self.rotation, self.position_scale, self.shift)
        return replace(moved, scales=self.size_scale[:, None, None] * gaussians.scales)


def to_frame(cameras: Cameras, config: Settings) -> Frame | None:
    """Cameras (B, V, 4, 4), input view first, in the world that the configuration names; None: ours already.

    With another field of view (`ray_fov_y_deg`) Gaussians cover as many pixels at the object's centre only.
    `release_flip` turns the cameras of the rays; the way back stays that of the first view.
    """
    if config.world == "ours":
        return None
    lgm = to_lgm(cameras.c2w)  # y up, OpenGL camera axes
    distance = cameras.c2w[:, 0, :3, 3].norm(dim=-1)
    scale = torch.ones_like(distance) if config.radius is None else config.radius / distance
    centres = scale[:, None, None, None] * lgm[..., :3, 3:]
    lgm = torch.cat([lgm[..., :3], torch.cat([centres, lgm[..., 3:, 3:]], -2)], -1)
    to_network = torch.eye(4, dtype=lgm.dtype, device=lgm.device).expand(len(lgm), 4, 4)
    if config.world == "first-camera":
        ahead = torch.eye(4, dtype=lgm.dtype, device=lgm.device).repeat(len(lgm), 1, 1)
        ahead[:, 2, 3] = scale * distance
        to_network = ahead @ invert_rigid(lgm[:, 0])
        lgm = to_network[:, None] @ lgm
        if config.release_flip:  # of all cameras before they are taken relative to the first
            half = torch.diag(lgm.new_tensor([1, -1, -1, 1]))
            lgm = (ahead @ half @ invert_rigid(ahead))[:, None] @ lgm @ half
    ray_fov = cameras.fov_y_deg if config.ray_fov_y_deg == "cameras" else float(config.ray_fov_y_deg)
    drawn = ray_fov if config.projection_fov_y_deg is None else config.projection_fov_y_deg
    drawn_fov = cameras.fov_y_deg if drawn == "cameras" else float(drawn)
    turn = z_up_to_y_up(lgm)[:3, :3]
    back = invert_rigid(to_network)
    position_scale = _half_tan(cameras.fov_y_deg) / _half_tan(drawn_fov) / scale
    return Frame(
        cameras=replace(cameras, c2w=from_opengl(lgm), fov_y_deg=ray_fov),
        rotation=turn.T @ back[:, :3, :3],
        shift=position_scale[:, None] * (back[:, :3, 3] @ turn),
        position_scale=position_scale,
        size_scale=_half_tan(cameras.fov_y_deg) / _half_tan(ray_fov) / scale,
    )


def _half_tan(fov_deg: float) -> float:
    return math.tan(math.radians(fov_deg) / 2)


def in_lgm_world(gaussians: Gaussians, distance: float, radius: float = LGM_RADIUS) -> Gaussians:
    """Unbatched Gaussians of our world, seen from `distance`, in LGM's: y up, its cameras at `radius`."""
    turn = z_up_to_y_up(gaussians.means)[:3, :3]
    return gaussians.moved(turn, turn.new_tensor(radius / distance), turn.new_zeros(3))
