"""What a denoiser is trained with, in pretraining and as the score of a student's samples."""

from __future__ import annotations

from torch import Tensor

from aligncvc.models.generators.base import MultiViewGenerator, Tree


def denoising_error(
    generator: MultiViewGenerator, x0: Tensor, noise: Tensor, timesteps: Tensor, condition: Tree
) -> Tensor:
    """Mean squared error of v, whatever the network says: x0's over the noise's share of the variance.

    Args:
        generator: its denoiser is called once, and says v in its own way.
        x0: clean latents (B, V, C, h, w), float32.
        noise: standard normal, like x0.
        timesteps: the schedule's own, (B,).
        condition: what the denoiser sees besides.
    """
    z_t = generator.schedule.add_noise(x0, noise, timesteps)
    raw = generator.raw_prediction(z_t, timesteps, condition).float()
    error = generator.prediction(raw, z_t, timesteps).x0 - x0
    return (error.square() / (1 - generator.schedule.signal_share(timesteps))).mean()
