"""What every multi-view generator (MVG) offers: one image in, V latent views out.

A generator owns its noise schedule. Latents are (B, V, C, h, w) and already scaled to about unit
variance; images are (B, V, 3, H, W) in [0, 1] on white.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Condition:
    """What the denoiser sees besides the noisy latents; the first axis of each member is B."""

    tokens: Tensor
    """(B, T, D) image-encoder tokens for cross-attention."""
    latents: Tensor
    """(B, C, h, w) latents of the input image, repeated for every view."""
    cameras: Tensor
    """(B, V, E) camera and task embedding."""

    def dropped(self) -> Condition:
        """The unconditional branch of classifier-free guidance: no image, the same cameras."""
        return Condition(torch.zeros_like(self.tokens), torch.zeros_like(self.latents), self.cameras)


@dataclass(frozen=True)
class Prediction:
    """One denoiser evaluation in its two equivalent forms, each (B, V, C, h, w)."""

    x0: Tensor
    eps: Tensor


class MultiViewGenerator(nn.Module, ABC):
    """Base class: the noise arithmetic is here, the networks are in the subclass."""

    # diffusers builds attributes and methods at run time, which type checkers cannot follow
    unet: Any
    vae: Any
    scheduler: Any

    @property
    def denoiser(self) -> Any:
        """The network that is aligned: LoRA sits on it, and its calls are counted."""
        return self.unet

    def parts(self) -> dict[str, nn.Module]:
        """Modules that have weights of their own in the ledger, by part."""
        return {"unet": self.unet, "vae": self.vae}

    @abstractmethod
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        """image (B, 3, H, W) in [0, 1]; cameras (B, V, 4, 4) c2w, input view at azimuth 0."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(B, V, 3, H, W) in [0, 1] -> latents (B, V, C, h, w); the mode, not a sample; differentiable."""

    def encode_renderings(self, renderings: Tensor, predicted: Tensor | None = None) -> Tensor:
        """Clean latents (B, V, C, h, w) whose colours are those of renderings (B, V, 3, H, W).

        predicted: the clean latents that the renderings were made from; what renderings do not show is kept
        from there. Generators of colours alone do not need it.
        """
        return self.encode(renderings)

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, V, C, h, w) -> images (B, V, 3, H, W), about [0, 1] and not clamped; differentiable."""

    @abstractmethod
    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        """(V, C, h, w) of one object's latents."""

    @abstractmethod
    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The network's own output (epsilon or v) for noisy latents (B, V, C, h, w) at timesteps (B,)."""

    def signal_noise(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(abar_t), sqrt(1 - abar_t)), each (B, 1, 1, 1, 1)."""
        abar = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps]
        return abar.sqrt().view(-1, 1, 1, 1, 1), (1 - abar).sqrt().view(-1, 1, 1, 1, 1)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise; timesteps (B,)."""
        signal, sigma = self.signal_noise(timesteps)
        return signal * x0 + sigma * noise

    def predict(
        self, z_t: Tensor, timesteps: Tensor, condition: Condition, guidance_scale: float = 1.0
    ) -> Prediction:
        """x0 and epsilon at timesteps (B,); guidance_scale 1 means conditional only (one network call)."""
        if guidance_scale == 1.0:
            raw = self.raw_prediction(z_t, timesteps, condition)
        else:
            free = condition.dropped()
            both = Condition(
                torch.cat([free.tokens, condition.tokens]),
                torch.cat([free.latents, condition.latents]),
                torch.cat([free.cameras, condition.cameras]),
            )
            unconditional, conditional = self.raw_prediction(
                torch.cat([z_t, z_t]), torch.cat([timesteps, timesteps]), both
            ).chunk(2)
            raw = unconditional + guidance_scale * (conditional - unconditional)
        signal, sigma = self.signal_noise(timesteps)
        if self.scheduler.config.prediction_type == "epsilon":
            return Prediction(x0=(z_t - sigma * raw) / signal, eps=raw)
        return Prediction(x0=signal * z_t - sigma * raw, eps=sigma * z_t + signal * raw)

    def checkpoint_gradients(self) -> None:
        """Keep no activations inside the denoiser's and autoencoder's blocks: a backward pass repeats them.

        Only where a gradient is asked for; values and gradients stay the same.
        """
        self.unet.enable_gradient_checkpointing()
        self.vae.enable_gradient_checkpointing()

    @contextmanager
    def adapters_off(self) -> Iterator[None]:
        """Inside, the denoiser is the frozen teacher: same base weights, LoRA off."""
        if not getattr(self.unet, "_hf_peft_config_loaded", False):
            yield
            return
        self.unet.disable_adapters()
        try:
            yield
        finally:
            self.unet.enable_adapters()
