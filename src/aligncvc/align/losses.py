"""Small parts of a training step: the loss to ground truth, and the learning rates' course."""

from __future__ import annotations

import math

from torch import Tensor, nn


def reconstruction_loss(perceptual: nn.Module, images: Tensor, truth: Tensor) -> Tensor:
    """MSE + LPIPS of images (B, V, 3, H, W) in [0, 1] to ground truth at the same cameras."""
    one, other = images.flatten(0, 1), truth.flatten(0, 1)
    return (one - other).square().mean() + perceptual(one * 2 - 1, other * 2 - 1).mean()


def rate_factor(step: int, steps: int, warmup: int, final: float) -> float:
    """What the learning rates are multiplied by at `step` of `steps`: linear warm-up, cosine to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
