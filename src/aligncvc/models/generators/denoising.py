"""What a denoiser is trained with, in pretraining and as the score of a student's samples."""

from __future__ import annotations

from torch import Tensor

from aligncvc.models.generators.base import MultiViewGenerator


def velocity_error(
    generator: MultiViewGenerator, raw: Tensor, z_t: Tensor, timesteps: Tensor, x0: Tensor
) -> Tensor:
    """Mean squared error of v, whatever the network says: x0's over the noise's share of the variance.

    Args:
        generator: says what the network's output means.
        raw: that output (B, V, C, h, w), float32.
        z_t: the noisy latents (B, V, C, h, w) that it was given.
        timesteps: theirs, (B,).
        x0: the clean latents (B, V, C, h, w) beneath the noise.
    """
    error = generator.prediction(raw, z_t, timesteps).x0 - x0
    return (error.square() / (1 - generator.schedule.signal_share(timesteps))).mean()
