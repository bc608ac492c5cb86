"""Coherence of posed views: judges without networks, fitting or ground truth.

*Silhouettes.* The visual hull (Laurentini 1994) is what the silhouettes of all views have in common. Where
views show one object, each silhouette is the hull's own. Where they do not, part of a silhouette has nothing
behind it that the other views allow; that part is measured. Blur buys little of it (docs/metrics.md).

*Colours.* Each view's colours are predicted by the others through the hull (image-based visual hulls: Matusik
et al. 2000): a pixel's ray meets the hull, and the views that see this point say which colour it has. With
four views a quarter turn apart hardly any point of the hull is seen twice, and every colour fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.metrics.psnr import masked_psnr
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.views import reduced, silhouettes

LARGEST_PX = 128
"""Larger views are brought to this height and width: the cost grows with the cube of the size."""
STEP_PX = 1.0
"""Samples on a ray lie so near that their images in other views are at most this far apart."""
RIM_PX = 1.5
"""The unit sphere is so much larger here: a renderer's pixel filter draws rims beyond the object."""
SAME_POINT = 0.08
"""A view sees a point of the hull if its own ray meets the hull within this distance of it."""
COLOUR_VIEWS = 8
"""So many views of a ring see the points of their hull more than once."""


class Coherence(NamedTuple):
    """By view, (V,): share of the silhouette that the hull supports; dB of its predicted colours; the share
    of the silhouette that is predicted. NaN: a view that shows nothing, or of which nothing is predicted."""

    silhouette: Tensor
    psnr: Tensor
    covered: Tensor


def coherence(views: Tensor, cameras: Cameras) -> Coherence:
    """views (V, 3, H, W) in [0, 1] on white, of an object in the unit sphere, at cameras (V, 4, 4)."""
    height, width = views.shape[-2:]
    if max(height, width) > LARGEST_PX:
        scale = LARGEST_PX / max(height, width)
        height, width = round(height * scale), round(width * scale)
        views = reduced(views, (height, width))
    cameras = cameras.resized(width, height)
    hull = Hull.of(silhouettes(views), cameras)
    if len(views) < COLOUR_VIEWS:
        nothing = torch.full((len(views),), torch.nan, dtype=torch.float64)
        return Coherence(hull.coherence, nothing, nothing)
    colours, known = predicted_colours(views, cameras, hull)
    area = hull.masks.sum((-2, -1)).double()
    psnr = masked_psnr(views.double(), colours.double(), known[:, None])
    return Coherence(hull.coherence, psnr, known.sum((-2, -1)) / area)


@dataclass(frozen=True)
class Hull:
    """The visual hull of V silhouettes, along the rays of their own pixels.

    masks: (V, H, W) bool. met: (V, H, W) bool, where a ray of the silhouette meets the hull.
    depth: (V, H, W), distance of that first point from the camera, NaN elsewhere.
    """

    masks: Tensor
    met: Tensor
    depth: Tensor

    @staticmethod
    def of(masks: Tensor, cameras: Cameras) -> Hull:
        """A point belongs to the hull if it lies in the unit sphere and in every silhouette grown by a pixel.

        Growing is for points that two pixel grids round apart: silhouettes of one object lose nothing.
        """
        grown = F.max_pool2d(masks[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
        depth = torch.full(masks.shape, torch.nan)
        origins, directions = (x.movedim(-3, -1) for x in cameras.rays())
        for view in range(len(masks)):
            mask = masks[view]
            if not mask.any():
                continue
            points, along = _samples(origins[view][mask], directions[view][mask], cameras)
            inside = ~along.isnan()
            for other in range(len(masks)):
                if other != view:
                    inside &= _lookup(grown[other], cameras, other, points)
            first = inside.int().argmax(-1, keepdim=True)
            found = along.gather(-1, first)[:, 0].where(inside.any(-1), torch.nan)
            depth[view] = depth[view].masked_scatter(mask, found)
        return Hull(masks, ~depth.isnan(), depth)

    @property
    def coherence(self) -> Tensor:
        """(V,): share of each silhouette that meets the hull; NaN for a view that shows nothing."""
        return (self.met & self.masks).sum((-2, -1)) / self.masks.sum((-2, -1)).double()


def predicted_colours(views: Tensor, cameras: Cameras, hull: Hull) -> tuple[Tensor, Tensor]:
    """Colours (V, 3, H, W) that the other views give each pixel, and where they do (V, H, W).

    Views that see the point weigh by the cosine between their ray and the pixel's.
    """
    colours, known = torch.zeros_like(views), torch.zeros_like(hull.met)
    origins, directions = (x.movedim(-3, -1) for x in cameras.rays())
    for view in range(len(views)):
        met = hull.met[view]
        if not met.any():
            continue
        depth = hull.depth[view][met]
        rays = directions[view][met]
        points = origins[view][met] + depth[:, None] * rays
        total, weights = torch.zeros(len(points), 3), torch.zeros(len(points), 1)
        for other in range(len(views)):
            if other == view:
                continue
            to_point = points - cameras.positions[other]
            distance = to_point.norm(dim=-1)
            seen = _sampled(hull.depth[other][None].nan_to_num(-9.0), cameras, other, points, "nearest")[:, 0]
            cosine = (to_point / distance[:, None] * rays).sum(-1)
            weight = cosine.clamp_min(0) * ((seen - distance).abs() < SAME_POINT)
            total += weight[:, None] * _sampled(views[other], cameras, other, points, "bilinear")
            weights += weight[:, None]
        enough = weights[:, 0] > 0
        known[view] = known[view].masked_scatter(met, enough)
        colours[view] = colours[view].masked_scatter(met, (total / weights.clamp_min(1e-9)).T)
    return colours, known


def _samples(origins: Tensor, directions: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Of n rays: points (n, S, 3) in the unit sphere, their distances (n, S); NaN where a ray misses it."""
    middle = -(origins * directions).sum(-1, keepdim=True)
    reach = 1 + RIM_PX * float(cameras.positions.norm(dim=-1).max()) / cameras.focal_px
    half = (middle.square() - origins.square().sum(-1, keepdim=True) + reach**2).clamp_min(0).sqrt()
    nearest = max(0.05, float(cameras.positions.norm(dim=-1).min()) - 1)
    count = math.ceil(2 * cameras.focal_px / nearest / STEP_PX) + 1
    along = middle + half * torch.linspace(-1, 1, count, dtype=origins.dtype)
    return origins[:, None] + along[..., None] * directions[:, None], along.where(half > 0, torch.nan)


def _pixels(cameras: Cameras, view: int, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where points (..., 3) appear in a view: x, y in pixels, centres at half-integers; NaN behind it."""
    w2c = cameras.w2c[view]
    x, y, z = (points @ w2c[:3, :3].T + w2c[:3, 3]).unbind(-1)
    z = z.where(z > 0, torch.nan)
    return x / z * cameras.focal_px + cameras.width / 2, y / z * cameras.focal_px + cameras.height / 2


def _lookup(mask: Tensor, cameras: Cameras, view: int, points: Tensor) -> Tensor:
    """(...): whether points (..., 3) fall on the mask (H, W) of a view."""
    x, y = _pixels(cameras, view, points)
    inside = (x >= 0) & (x < cameras.width) & (y >= 0) & (y < cameras.height)
    column, row = (p.where(inside, 0.0).long() for p in (x, y))
    return mask[row, column] & inside


def _sampled(
    image: Tensor, cameras: Cameras, view: int, points: Tensor, mode: Literal["nearest", "bilinear"]
) -> Tensor:
    """(C, H, W) at the places of points (n, 3) -> (n, C)."""
    x, y = _pixels(cameras, view, points)
    grid = torch.stack([x / cameras.width * 2 - 1, y / cameras.height * 2 - 1], -1)[None, None].nan_to_num(
        9.0
    )
    found = F.grid_sample(image[None], grid, mode=mode, padding_mode="border", align_corners=False)
    return found[0, :, 0].T
