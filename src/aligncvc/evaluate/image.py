"""Image metrics, written out: what is averaged, over which window, in which range.

All take two (B, 3, H, W) batches in [0, 1] and return one float64 number an image, (B,). Conventions and
what they change: the protocol (`protocol.py`) names each of them and is part of every record.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc import metrics
from aligncvc.errors import UserError

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
LPIPS_MIN_PX = 64
_LPIPS_BATCH = 32

Metric = Callable[[Tensor, Tensor], Tensor]


def psnr(images: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, data range 1: -10 log10 of the MSE over pixels and channels."""
    _check(images, target)
    return metrics.psnr(images.double(), target.double())


def foreground_psnr(images: Tensor, target: Tensor, alpha: Tensor) -> Tensor:
    """PSNR over the pixels where the ground truth's alpha (B, 1, H, W) is above 0.5.

    The background is neither counted nor able to dilute an error. NaN for an image without foreground.
    """
    _check(images, target)
    return metrics.foreground_psnr(images.double(), target.double(), alpha)


def ssim(images: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window 11 px, sigma 1.5, data range 1.

    K1 = 0.01, K2 = 0.03, population covariance, each channel on its own, windows that lie inside the image
    only; mean over positions and channels. Agrees with scikit-image's `structural_similarity(...,
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`; torchmetrics 1.9 computes the same map
    but also averages its border of 5 px, where the window sees mirrored pixels.
    """
    _check(images, target)
    height, width = images.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise UserError(
            f"SSIM needs images of at least {SSIM_WINDOW} px a side, got {width}x{height}; render larger"
        )
    x, y = images.double().flatten(0, 1)[:, None], target.double().flatten(0, 1)[:, None]
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    values = (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    )
    return values.mean((-3, -2, -1)).view(len(images), -1).mean(1)


def _blur(x: Tensor) -> Tensor:
    """Separable Gaussian filter of (N, 1, H, W), valid positions only."""
    offsets = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))


def lpips_metric(model: nn.Module) -> Metric:
    """The LPIPS metric of a network from `encoders.load_lpips`; images are scaled to [-1, 1], not resized.

    The returned function raises UserError for images below 64 px a side, which the trunk was not made for.
    """

    @torch.no_grad()
    def lpips(images: Tensor, target: Tensor) -> Tensor:
        _check(images, target)
        height, width = images.shape[-2:]
        if min(height, width) < LPIPS_MIN_PX:
            raise UserError(
                f"LPIPS needs images of at least {LPIPS_MIN_PX} px a side, got {width}x{height}; "
                "set render.size_px to 64 or more"
            )
        pairs = zip(images.float().split(_LPIPS_BATCH), target.float().split(_LPIPS_BATCH), strict=True)
        return torch.cat([model(a * 2 - 1, b * 2 - 1).flatten() for a, b in pairs]).double()

    return lpips


def not_available(images: Tensor, _target: Tensor) -> Tensor:
    """Stands for a metric that has no value at this size: NaN for every image, never a substitute."""
    return torch.full((len(images),), torch.nan, dtype=torch.float64)


def _check(images: Tensor, target: Tensor) -> None:
    if images.shape != target.shape or images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"metrics compare two (B, 3, H, W) batches of one shape, got {tuple(images.shape)} and "
            f"{tuple(target.shape)}; give both at the same views and size"
        )
