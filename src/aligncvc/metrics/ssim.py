"""Structural similarity (Wang et al. 2004) of images in [0, 1], data range 1, whole windows only.

As scikit-image: gaussian-11 with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`, uniform-7
with its defaults. torchmetrics 1.9 also averages the border of 5 px, where the window sees mirrored pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.metrics.psnr import masked_mean, require_alike

WINDOW_PX, SIGMA_PX = 11, 1.5

Window = Literal["gaussian-11", "uniform-7"]


def ssim(images: Tensor, target: Tensor, window: Window = "gaussian-11") -> Tensor:
    """(B, 3, H, W) twice -> (B,) float64: mean of `ssim_map` over its positions."""
    return ssim_map(images, target, window).mean((-2, -1))


def ssim_scores(
    images: Tensor, target: Tensor, alpha: Tensor, window: Window = "gaussian-11"
) -> tuple[Tensor, Tensor]:
    """`ssim`, and its mean over positions whose centre is foreground (alpha (B, 1, H, W) > 0.5), two (B,)."""
    values = ssim_map(images, target, window)
    margin = (images.shape[-1] - values.shape[-1]) // 2
    inside = alpha[:, 0, margin : margin + values.shape[-2], margin : margin + values.shape[-1]]
    return values.mean((-2, -1)), masked_mean(values, inside > 0.5)


def ssim_map(images: Tensor, target: Tensor, window: Window = "gaussian-11") -> Tensor:
    """SSIM where the window lies inside the image, mean of the channels, (B, H', W') float64.

    gaussian-11: weights of sigma 1.5, population covariance. uniform-7: equal weights, sample covariance.
    """
    require_alike(images, target)
    kernel = _kernel(window)
    size, (height, width) = len(kernel), images.shape[-2:]
    if min(height, width) < size:
        raise UserError(
            f"SSIM needs images of at least {size} px a side, got {width}x{height}; render larger"
        )
    # Separable filters as products with band matrices: several times faster than convolutions in float64.
    rows = _band(height, kernel).to(images.device)
    columns = _band(width, kernel).T.contiguous().to(images.device)
    sample = size**2 / (size**2 - 1) if window == "uniform-7" else 1.0
    maps = []
    for x, y in zip(images.double(), target.double(), strict=True):
        mean_x, mean_y, xx, yy, xy = rows @ torch.stack([x, y, x * x, y * y, x * y]) @ columns
        var_x, var_y = sample * (xx - mean_x**2), sample * (yy - mean_y**2)
        covariance = sample * (xy - mean_x * mean_y)
        c1, c2 = 0.01**2, 0.03**2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        maps.append((luminance * (2 * covariance + c2) / (var_x + var_y + c2)).mean(0))
    return torch.stack(maps)


def _kernel(window: Window) -> Tensor:
    if window == "uniform-7":
        return torch.full((7,), 1 / 7, dtype=torch.float64)
    if window != "gaussian-11":
        raise UserError(f"SSIM has no window {window!r}; choose gaussian-11 or uniform-7")
    offsets = torch.arange(WINDOW_PX, dtype=torch.float64) - WINDOW_PX // 2
    kernel = torch.exp(-0.5 * (offsets / SIGMA_PX) ** 2)
    return kernel / kernel.sum()


def _band(size: int, kernel: Tensor) -> Tensor:
    """(size - k + 1, size): row i holds the kernel at columns i to i + k - 1."""
    places = size - len(kernel) + 1
    return torch.stack([F.pad(kernel, (i, places - 1 - i)) for i in range(places)])
