"""PSNR, its foreground form and mean absolute error, in the type of the numbers that are given."""

from __future__ import annotations

import torch
from torch import Tensor

from aligncvc.errors import UserError

PSNR_CAP_DB = 100.0
"""Identical images have no finite PSNR; they (and anything better than this) count as this many dB."""


def decibels(mse: Tensor) -> Tensor:
    """Mean squared error of images in [0, 1] -> PSNR in dB (data range 1), capped; NaN stays NaN."""
    return (-10 * mse.clamp_min(1e-30).log10()).clamp_max(PSNR_CAP_DB).where(~mse.isnan(), mse)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """(..., 3, H, W) in [0, 1] twice -> (...) dB: one value an image, over its pixels and channels."""
    return decibels(_difference(images, reference).square().mean((-3, -2, -1)))


def pooled_psnr(images: Tensor, reference: Tensor) -> Tensor:
    """PSNR of the MSE over the whole batch, () dB: never above the mean of the images' own PSNRs."""
    return decibels(_difference(images, reference).square().mean())


def foreground_psnr(images: Tensor, reference: Tensor, alpha: Tensor) -> Tensor:
    """PSNR over the pixels where the reference's alpha (..., 1, H, W) exceeds 0.5, (...) dB, or NaN.

    What is drawn beyond the reference's silhouette costs nothing here; in `union_psnr` it does.
    """
    return masked_psnr(images, reference, alpha > 0.5)


def union_psnr(images: Tensor, reference: Tensor, alpha: Tensor, drawn: Tensor) -> Tensor:
    """PSNR over the pixels where either alpha, (..., 1, H, W) each, exceeds 0.5, (...) dB, or NaN.

    alpha: the reference's; drawn: the images' own. So neither a missing part nor one too many is free.
    """
    return masked_psnr(images, reference, (alpha > 0.5) | (drawn > 0.5))


def masked_psnr(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """PSNR over the pixels of a bool mask (..., 1, H, W), (...) dB; NaN where it has none."""
    weight = mask.to(images.dtype)
    squared = _difference(images, reference).square().mean(-3, keepdim=True)
    return decibels((squared * weight).sum((-3, -2, -1)) / weight.sum((-3, -2, -1)))


def mae(images: Tensor, reference: Tensor) -> Tensor:
    """(..., 3, H, W) twice -> (...) mean absolute error over pixels and channels."""
    return _difference(images, reference).abs().mean((-3, -2, -1))


def require_alike(images: Tensor, reference: Tensor) -> None:
    """Raise UserError unless both are (..., 3, H, W) of one shape."""
    if images.shape != reference.shape or images.ndim < 3 or images.shape[-3] != 3:
        raise UserError(
            f"metrics compare two (..., 3, H, W) batches of one shape, got {tuple(images.shape)} and "
            f"{tuple(reference.shape)}; give both at the same views and size"
        )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B, H, W) twice -> (B,) float64: mean where the mask holds, else NaN; what is outside may be NaN."""
    weight = mask.double()
    covered = torch.where(weight > 0, values.double(), 0.0)
    return (covered * weight).sum((-2, -1)) / weight.sum((-2, -1))


def _difference(images: Tensor, reference: Tensor) -> Tensor:
    require_alike(images, reference)
    return images - reference
