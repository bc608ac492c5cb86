"""From 14 channels a pixel to Gaussians: LGM's own head, and one anchored to the pixel's ray.

A small network learns the ray head in minutes; LGM's checkpoints need the absolute one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import silhouettes

SPLIT = (3, 1, 3, 4, 3)


class Head(ABC):
    """features (B, V, 14, H', W'), images (B, V, 3, H, W) in [0, 1] -> Gaussians (B, V H' W')."""

    def initialise(self, conv: nn.Conv2d) -> None:  # noqa: B027  (a head may leave the default)
        """Set the last convolution so that training starts from a sensible set; here: leave the default."""

    @abstractmethod
    def __call__(self, features: Tensor, images: Tensor, cameras: Cameras) -> Gaussians: ...


def _flat(x: Tensor) -> Tensor:
    """(B, V, C, H, W) -> (B, V H W, C)."""
    return x.permute(0, 1, 3, 4, 2).flatten(1, 3)


def polar_rotation(quats: Tensor) -> Tensor:
    """(..., 4) quaternions of any length -> unit quaternions of the rotation that LGM's rasteriser draws.

    It puts quaternions into the formula for unit ones: for q = (w, v) I + 2 w [v]x + 2 [v]x^2, across v a
    turn by atan2(2 w |v|, 1 - 2 |v|^2), kept here, and a stretch that differs from 1 by less than 2 |v|^2.
    Needs |v|^2 < 1/2, or a unit q that turns by less than half a circle.
    """
    w, v = quats[..., :1], quats[..., 1:]
    real = 1 - 2 * v.square().sum(-1, keepdim=True)
    imaginary = 2 * w * v
    length = (real.square() + imaginary.square().sum(-1, keepdim=True)).sqrt()
    return F.normalize(torch.cat([length + real, imaginary], -1), dim=-1)


class LgmHead(Head):
    """Absolute positions in [-1, 1]^3 (github 3DTopia/LGM).

    rot_norm_dim -1 normalises each quaternion; 1, as in the first release, each member over all Gaussians.
    """

    def __init__(self, rot_norm_dim: Literal[-1, 1] = -1) -> None:
        self.rot_norm_dim = rot_norm_dim

    def activate(self, flat: Tensor) -> Tensor:
        """(B, N, 14) channels -> (B, N, 14) position, opacity, scale, rotation and colour as LGM has them."""
        position, opacity, scale, rotation, colour = flat.split(SPLIT, -1)
        scale, rotation = 0.1 * F.softplus(scale), F.normalize(rotation, dim=self.rot_norm_dim)
        return torch.cat(
            [position.clamp(-1, 1), opacity.sigmoid(), scale, rotation, 0.5 * colour.tanh() + 0.5], -1
        )

    def __call__(self, features: Tensor, images: Tensor, cameras: Cameras) -> Gaussians:
        means, opacities, scales, quats, colors = self.activate(_flat(features)).split(SPLIT, -1)
        if self.rot_norm_dim == 1:
            quats = polar_rotation(quats)
        return Gaussians(means, scales, quats, opacities[..., 0], colors)


def colours_around(pixels: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The least and the greatest colour in the square around each pixel of views on white.

    Colours are those inside the object: its rim is mixed with the canvas. Where the square has no inside,
    they are the object's, and else any.

    Args:
        pixels: (N, 3, H, W) in [0, 1].
        side: of the square, in pixels; odd.

    Returns:
        Two tensors like pixels.
    """

    def widest(x: Tensor, size: int = side) -> Tensor:
        return F.max_pool2d(x, size, 1, size // 2)

    shown = silhouettes(pixels)[:, None].to(pixels)
    inside = -widest(-shown, 3)
    low, high = -widest(-pixels), widest(pixels)
    for among in (shown, inside):
        out, found = 2 * (1 - among), widest(among) > 0
        low = torch.where(found, -widest(-pixels - out), low)
        high = torch.where(found, widest(pixels - out), high)
    return low, high


class RayHead(Head):
    """Depth along the pixel's ray, a small lateral offset, and a colour that starts at the input pixel.

    colour_px: the colour lies within those of a square of so many pixels around (`colours_around`); None:
    it is free. least_opacity: what is less opaque is not there at all.
    """

    depth_range = 1.0
    """World units either side of the object's centre: the object fits the unit sphere."""
    lateral_px = 2.0
    """Largest offset across the ray, in output pixels."""

    def __init__(self, colour_px: int | None = None, least_opacity: float = 0.0) -> None:
        self.colour_px, self.least_opacity = colour_px, least_opacity

    def initialise(self, conv: nn.Conv2d) -> None:
        """Depth at the centre, opacity 0.5, scale half a pixel, no rotation, the pixel's colour."""
        with torch.no_grad():
            conv.weight.mul_(0.1)
            assert conv.bias is not None
            conv.bias.zero_()
            conv.bias[7] = 1.0

    def __call__(self, features: Tensor, images: Tensor, cameras: Cameras) -> Gaussians:
        height, width = features.shape[-2:]
        at_output = cameras.resized(width, height)
        position, opacity, scale, rotation, colour = features.split(SPLIT, 2)
        origins, directions = at_output.rays()
        distance = cameras.positions.norm(dim=-1)[..., None, None, None]
        pixel_world = distance / at_output.focal_px  # side of a pixel at the object's distance
        depth = distance + self.depth_range * position[:, :, :1].tanh()
        lateral = self.lateral_px * pixel_world * position[:, :, 1:].tanh()
        right, down = cameras.c2w[..., :3, 0, None, None], cameras.c2w[..., :3, 1, None, None]
        means = origins + depth * directions + lateral[:, :, :1] * right + lateral[:, :, 1:] * down
        pixels = F.interpolate(images.flatten(0, 1), size=(height, width), mode="area")
        base = torch.logit(pixels.unflatten(0, images.shape[:2]).clamp(0.02, 0.98))
        colour = (base + colour).sigmoid()
        if self.colour_px is not None:
            low, high = (x.view_as(colour) for x in colours_around(pixels, self.colour_px))
            colour = torch.minimum(torch.maximum(colour, low), high)
        opacity = opacity.sigmoid()
        opacity = opacity * (opacity >= self.least_opacity)
        return Gaussians(
            means=_flat(means),
            scales=_flat(0.5 * pixel_world * scale.clamp(-4, 3).exp()),
            quats=F.normalize(_flat(rotation), dim=-1),
            opacities=_flat(opacity)[..., 0],
            colors=_flat(colour),
        )
