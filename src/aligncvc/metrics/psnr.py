"""Peak signal-to-noise ratios that every stage shares (training curves and tables alike)."""

from __future__ import annotations

from torch import Tensor

PSNR_CAP_DB = 100.0
"""Identical images have no finite PSNR; they (and anything better than this) count as this many dB."""


def decibels(mse: Tensor) -> Tensor:
    """Mean squared error of images in [0, 1] -> PSNR in dB (data range 1), capped; NaN stays NaN."""
    return (-10 * mse.clamp_min(1e-30).log10()).clamp_max(PSNR_CAP_DB).where(~mse.isnan(), mse)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] twice -> (...) dB: one value an image, over its pixels and channels."""
    return decibels((images - reference).square().mean((-3, -2, -1)))


def foreground_psnr(images: Tensor, reference: Tensor, alpha: Tensor) -> Tensor:
    """PSNR over the pixels where the reference's alpha (..., 1, H, W) exceeds 0.5, (...) dB.

    White canvas dominates object renders; this is the number that it cannot flatter. NaN where the
    reference shows no object.
    """
    mask = (alpha > 0.5).to(images.dtype)
    squared = (images - reference).square().mean(-3, keepdim=True)
    return decibels((squared * mask).sum((-3, -2, -1)) / mask.sum((-3, -2, -1)))
