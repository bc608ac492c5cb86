"""Peak signal-to-noise ratios that every stage shares (training curves and tables alike)."""

from __future__ import annotations

from torch import Tensor

PSNR_CAP_DB = 60.0
"""Identical images would be infinite; 60 dB is beyond 8-bit images that differ anywhere by more than a rounding."""


def decibels(mse: Tensor) -> Tensor:
    """Mean squared error of images in [0, 1] -> PSNR in dB, capped."""
    return (-10 * mse.clamp_min(10 ** (-PSNR_CAP_DB / 10)).log10()).clamp_max(PSNR_CAP_DB)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] twice -> (...) dB, one value an image (data range 1)."""
    return decibels((images - reference).square().mean((-3, -2, -1)))


def foreground_psnr(images: Tensor, reference: Tensor, alpha: Tensor) -> Tensor:
    """PSNR over the pixels where the reference's alpha (..., 1, H, W) exceeds 0.5, (...) dB.

    White canvas dominates object renders; this is the number that it cannot flatter. NaN where the
    reference shows no object.
    """
    mask = (alpha > 0.5).to(images.dtype)
    squared = (images - reference).square().mean(-3, keepdim=True)
    return decibels((squared * mask).sum((-3, -2, -1)) / mask.sum((-3, -2, -1)))
