"""Noise schedules of generators: how much signal and noise a timestep has, and one step to a cleaner one.

Noisy latents are z_t = signal(t) x0 + sigma(t) eps: variance-preserving (alphas) or exploding (EDM's sigmas).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Time = int | float
"""A timestep as the denoiser is told it; larger is noisier."""

Spacing = Literal["trailing", "leading"]
"""Which timestep of each stretch is visited: the last, so that the noisiest is, or the second."""


SD_TIMESTEPS = 1000
"""Of Stable Diffusion's schedule, in which configurations list timesteps."""


class Schedule(ABC):
    """Timesteps, signal and noise. Latents are (B, V, C, h, w); timesteps of a batch are (B,)."""

    dtype: torch.dtype
    """Of timesteps."""

    @abstractmethod
    def times(self, steps: int) -> list[Time]:
        """`steps` descending timesteps from the noisiest, for sampling that ends at clean latents."""

    @abstractmethod
    def signal_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, sigma) at timesteps (B,), each (B, 1, 1, 1, 1)."""

    @abstractmethod
    def like(self, timesteps: Tensor) -> Tensor:
        """This schedule's times for the 1000 timesteps of Stable Diffusion, (B,) long."""

    def listed(self, timesteps: Sequence[int]) -> list[Time]:
        """The same for a configuration's list."""
        times: list[Time] = self.like(torch.tensor(timesteps)).tolist()
        return times

    def signal_share(self, timesteps: Tensor) -> Tensor:
        """abar, the signal's share of the variance at timesteps (B,), (B, 1, 1, 1, 1)."""
        signal, sigma = self.signal_noise(timesteps)
        return signal.square() / (signal.square() + sigma.square())

    def start(self, noise: Tensor, time: Time) -> Tensor:
        """What sampling from `time` starts with, from standard normal noise."""
        return noise

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        signal, sigma = self.signal_noise(timesteps)
        return signal * x0 + sigma * noise

    def implied_noise(self, z: Tensor, x0: Tensor, timesteps: Tensor) -> Tensor:
        signal, sigma = self.signal_noise(timesteps)
        return (z - signal * x0) / sigma

    @abstractmethod
    def step(self, z: Tensor, x0: Tensor, eps: Tensor, timesteps: Tensor, following: Tensor | None) -> Tensor:
        """z at the following timesteps (None: clean) along x0 and eps: DDIM with eta 0, or Euler."""


class AlphaSchedule(Schedule):
    """Variance-preserving, T whole timesteps: signal sqrt(abar_t), sigma sqrt(1 - abar_t)."""

    dtype = torch.long

    def __init__(self, alphas_cumprod: Tensor, spacing: Spacing = "trailing") -> None:
        """alphas_cumprod: abar (T,), float32, descending; the last may be 0. spacing: of `times`."""
        self.alphas_cumprod, self.spacing = alphas_cumprod, spacing

    @classmethod
    def scaled_linear(
        cls,
        start: float = 0.00085,
        end: float = 0.012,
        length: int = SD_TIMESTEPS,
        spacing: Spacing = "trailing",
    ) -> AlphaSchedule:
        """Stable Diffusion's: square roots of the betas are evenly spaced."""
        betas = torch.linspace(start**0.5, end**0.5, length, dtype=torch.float32, device="cpu") ** 2
        return cls(torch.cumprod(1.0 - betas, dim=0), spacing)

    @classmethod
    def cosine_zero_snr(cls, length: int = SD_TIMESTEPS, spacing: Spacing = "trailing") -> AlphaSchedule:
        """Cosine (arXiv 2102.09672), stretched so that the last timestep has no signal (arXiv 2305.08891)."""
        grid = torch.linspace(0, 1, length + 1, dtype=torch.float64, device="cpu")
        square = ((grid + 0.008) / 1.008 * (math.pi / 2)).cos() ** 2
        betas = (1 - square[1:] / square[:-1]).clamp(max=0.999)
        signal = (1 - betas).cumprod(0).sqrt()
        stretched = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
        return cls((stretched**2).float(), spacing)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def times(self, steps: int) -> list[Time]:
        if self.spacing == "leading":
            return [min(1 + i * (len(self) // steps), len(self) - 1) for i in reversed(range(steps))]
        return [round(len(self) - i * len(self) / steps) - 1 for i in range(steps)]

    def like(self, timesteps: Tensor) -> Tensor:
        """Timesteps are timesteps, if there are as many."""
        return timesteps if len(self) == SD_TIMESTEPS else timesteps * len(self) // SD_TIMESTEPS

    def signal_share(self, timesteps: Tensor) -> Tensor:
        return self.alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1, 1)

    def signal_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        abar = self.alphas_cumprod.to(timesteps.device)[timesteps]
        return abar.sqrt().view(-1, 1, 1, 1, 1), (1 - abar).sqrt().view(-1, 1, 1, 1, 1)

    def step(self, z: Tensor, x0: Tensor, eps: Tensor, timesteps: Tensor, following: Tensor | None) -> Tensor:
        # through v = a eps - s x0: well conditioned at every timestep, whatever the network itself predicts
        signal, sigma = self.signal_noise(timesteps)
        v = signal * eps - sigma * x0
        x0, eps = signal * z - sigma * v, signal * v + sigma * z
        if following is None:
            return x0
        signal, sigma = self.signal_noise(following)
        return signal * x0 + sigma * eps


class SigmaSchedule(Schedule):
    """Exploding variance (EDM): z = x0 + sigma eps; a timestep is ln(sigma) / 4, as its networks are told."""

    dtype = torch.float32

    def __init__(self, low: float = 0.002, high: float = 700.0, rho: float = 7.0) -> None:
        """low, high: the smallest and the largest sigma; rho: how evenly steps lie between them."""
        self.low, self.high, self.rho = low, high, rho

    def times(self, steps: int) -> list[Time]:
        roots = self.high ** (1 / self.rho), self.low ** (1 / self.rho)
        shares = [i / max(1, steps - 1) for i in range(steps)]
        return [0.25 * self.rho * math.log(roots[0] + s * (roots[1] - roots[0])) for s in shares]

    def like(self, timesteps: Tensor) -> Tensor:
        """Those with as much noise for the signal; the last timestep is the largest sigma."""
        signal, sigma = AlphaSchedule.scaled_linear().signal_noise(timesteps)
        times = (sigma / signal).flatten().log() / 4
        top = torch.full_like(times, math.log(self.high) / 4)
        return torch.where(timesteps >= SD_TIMESTEPS - 1, top, times)

    def signal_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        sigma = (4 * timesteps).exp().view(-1, 1, 1, 1, 1)
        return torch.ones_like(sigma), sigma

    def start(self, noise: Tensor, time: Time) -> Tensor:
        return noise * (1 + math.exp(8 * time)) ** 0.5

    def step(self, z: Tensor, x0: Tensor, eps: Tensor, timesteps: Tensor, following: Tensor | None) -> Tensor:
        return x0 if following is None else x0 + self.signal_noise(following)[1] * eps
