"""Which voxels an object's surface lies in, for reconstructors that propose them before they reconstruct."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.models.reconstructors.base import ProposesVoxels
from aligncvc.scene.cameras import Cameras

OCCUPIED_WEIGHT = 3.0
"""Of occupied voxels in the loss: most are empty, and a surface voxel that is not proposed is lost."""


def surface_voxels(depth: Tensor, cameras: Cameras, coordinates: Tensor) -> Tensor:
    """Voxels (B, G, G, G) of x, y, z, bool, that a pixel's surface point is nearest to.

    depth (B, V, H, W) along the optical axis, 0 without object, seen by cameras (B, V, 4, 4); coordinates
    (B, G) of the voxels' centres, evenly spaced. Points outside the grid count nowhere.
    """
    origins, directions = cameras.rays()
    forward = cameras.c2w[..., :3, 2, None, None]
    along = depth[:, :, None] / (directions * forward).sum(2, keepdim=True)
    points = (origins + along * directions).permute(0, 1, 3, 4, 2).flatten(1, 3)
    count = coordinates.shape[1]
    first, step = coordinates[:, :1, None], (coordinates[:, 1] - coordinates[:, 0])[:, None, None]
    index = ((points - first) / step).round().long()
    inside = (depth.flatten(1) > 0) & ((index >= 0) & (index < count)).all(-1)
    x, y, z = index.clamp(0, count - 1).unbind(-1)
    occupied = torch.zeros(len(depth), count**3, dtype=torch.bool, device=depth.device)
    for each, at, counts in zip(occupied, (x * count + y) * count + z, inside, strict=True):
        each[at[counts]] = True
    return occupied.unflatten(1, (count,) * 3)


def proposal_loss(
    model: ProposesVoxels, images: Tensor, seen: Cameras, depth: Tensor, cameras: Cameras
) -> Tensor:
    """Cross-entropy of the voxels that `model` proposes from images seen by `seen`.

    Truth is where depth (B, V, H, W) of any views, seen by `cameras`, shows a surface.
    """
    logits, coordinates = model.occupancy(images, seen)
    occupied = surface_voxels(depth, cameras, coordinates)
    weight = 1 + (OCCUPIED_WEIGHT - 1) * occupied
    return F.binary_cross_entropy_with_logits(logits.float(), occupied.float(), weight)
