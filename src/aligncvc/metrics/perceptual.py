"""Image metrics that frozen networks make: LPIPS, DISTS, CLIP-S; images in [0, 1], never resized.

Without a network, or below LEAST_PX a side, where the trunks see too few positions, every number is NaN.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.metrics.psnr import masked_mean, require_alike
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.dists import Dists

LEAST_PX = 64
# Of one side of the pair; larger batches leave the cache and run slower.
_LPIPS_BATCH_PIXELS = 131072
_DISTS_BATCH_PIXELS = 65536


@torch.no_grad()
def lpips_scores(
    model: nn.Module | None, images: Tensor, target: Tensor, alpha: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """LPIPS of whole images (B, 3, H, W) and of their foreground in one pass of the trunk, two (B,) float64.

    The first equals the genuine class. The second averages its spatial form (`LPIPS(spatial=True)`: each
    layer's map, bilinearly enlarged to the image) where the truth's alpha (B, 1, H, W) exceeds 0.5, and is
    NaN without it; receptive fields reach across the silhouette, so background counts a little.
    """
    require_alike(images, target)
    if model is None or min(images.shape[-2:]) < LEAST_PX:
        return _no_values(images), _no_values(images)
    whole, foreground = [], []
    batch = _batch(images, _LPIPS_BATCH_PIXELS)
    for i in range(0, len(images), batch):
        here = slice(i, i + batch)
        maps = _lpips_maps(model, images[here].float(), target[here].float())
        whole.append(torch.stack([layer.mean((-3, -2, -1)) for layer in maps]).sum(0))
        if alpha is not None:
            enlarge = partial(F.interpolate, size=images.shape[-2:], mode="bilinear", align_corners=False)
            full = sum(enlarge(layer) for layer in maps)
            foreground.append(masked_mean(full[:, 0], alpha[here, 0] > 0.5))  # type: ignore[index]
    values = torch.cat(whole).double()
    return values, torch.cat(foreground) if foreground else _no_values(images)


def lpips(model: nn.Module | None, images: Tensor, target: Tensor) -> Tensor:
    """LPIPS of whole images, (B,) float64 (`lpips_scores`)."""
    return lpips_scores(model, images, target)[0]


def _lpips_maps(model: Any, images: Tensor, target: Tensor) -> list[Tensor]:
    """The five weighted squared differences of unit features, (B, 1, h, w) each, by the class's own parts."""
    first, second = (
        [layer / (layer.square().sum(1, keepdim=True).sqrt() + 1e-10) for layer in model.net(scaled)]
        for scaled in (model.scaling_layer(x * 2 - 1) for x in (images, target))
    )
    return [head((a - b).square()) for head, a, b in zip(model.lins, first, second, strict=True)]


@torch.no_grad()
def dists(model: Dists | None, images: Tensor, target: Tensor) -> Tensor:
    """DISTS, (B, 3, H, W) twice -> (B,), at the images' own size; the authors' script makes them 256 px."""
    require_alike(images, target)
    if model is None or min(images.shape[-2:]) < LEAST_PX:
        return _no_values(images)
    batch = _batch(images, _DISTS_BATCH_PIXELS)
    pairs = zip(images.float().split(batch), target.float().split(batch), strict=True)
    return torch.cat([model(a, b) for a, b in pairs])


def clip_s(model: ClipImageEncoder, images: Tensor, target: Tensor) -> Tensor:
    """CLIP-S: cosine of the image embeddings of two batches, (B,) float64 in [-1, 1]; 1 for equal images."""
    return (model.embed(images) * model.embed(target)).sum(1).double()


def _no_values(images: Tensor) -> Tensor:
    return torch.full((len(images),), torch.nan, dtype=torch.float64)


def _batch(images: Tensor, pixels: int) -> int:
    return max(1, pixels // (images.shape[-2] * images.shape[-1]))
