"""What every multi-view generator (MVG) offers: one image in, V latent views out.

Latents are (B, V, C, h, w) of about unit variance; images are (B, V, 3, H, W) in [0, 1] on white.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.generators.schedules import Schedule
from aligncvc.scene.cameras import Cameras
from aligncvc.splat import Rendering

STUDENT = "default"
"""Name of the LoRA that is in use unless another is asked for; peft's own."""

Tree = Any
"""What a denoiser sees besides noisy latents: tensors whose first axis is B, in dataclasses, mappings, tuples
or lists. Only the generator knows what is in it."""

Guidance = float | Tensor
"""Classifier-free guidance: a number for all views, or one a view (V,)."""


def over_tree(function: Callable[..., Tensor], *trees: Tree) -> Tree:
    """`function` of the tensors at the same place of each tree, in a tree of the same form."""
    first = trees[0]
    if isinstance(first, Tensor):
        return function(*trees)
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        return replace(first, **{n: over_tree(function, *(getattr(t, n) for t in trees)) for n in names})
    if isinstance(first, Mapping):
        return {key: over_tree(function, *(t[key] for t in trees)) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(over_tree(function, *parts) for parts in zip(*trees, strict=True))
    return first


@dataclass(frozen=True)
class Prediction:
    """What a denoiser says, in two equivalent forms, each (B, V, C, h, w)."""

    x0: Tensor
    eps: Tensor


def of_noise(raw: Tensor, z_t: Tensor, signal: Tensor, sigma: Tensor) -> Prediction:
    """Of a network that says epsilon."""
    return Prediction(x0=(z_t - sigma * raw) / signal, eps=raw)


def of_velocity(raw: Tensor, z_t: Tensor, signal: Tensor, sigma: Tensor) -> Prediction:
    """Of a network that says v = signal eps - sigma x0."""
    return Prediction(x0=signal * z_t - sigma * raw, eps=sigma * z_t + signal * raw)


class MultiViewGenerator(nn.Module, ABC):
    """Base class: guidance and adapters are here, the networks are in the subclass."""

    schedule: Schedule
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Ends of the names of the denoiser's linear layers that alignment puts LoRA on."""

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The network that is aligned: LoRA sits on it, and its calls are counted (see `rows`)."""

    def rows(self, views: int) -> int:
        """Rows of the denoiser's first argument for one object and one branch of guidance."""
        return views

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Modules that have weights of their own in the ledger, by part."""

    @abstractmethod
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Tree:
        """image (B, 3, H, W) in [0, 1]; cameras (B, V, 4, 4) c2w, input view at azimuth 0."""

    @abstractmethod
    def unconditional(self, condition: Tree) -> Tree:
        """The other branch of classifier-free guidance: no image, the same cameras."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(B, V, 3, H, W) in [0, 1] -> latents (B, V, C, h, w); the mode, not a sample; differentiable."""

    def encode_renderings(self, renderings: Tensor, predicted: Tensor | None = None) -> Tensor:
        """Clean latents with the colours of renderings; `predicted` has what those do not show."""
        return self.encode(renderings)

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, V, C, h, w) -> images (B, V, 3, H, W), about [0, 1] and not clamped; differentiable."""

    @abstractmethod
    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        """(V, C, h, w) of one object's latents."""

    @abstractmethod
    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Tree) -> Tensor:
        """The network's own output for noisy latents (B, V, C, h, w) at timesteps (B,)."""

    @abstractmethod
    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        """What the network's own output means."""

    def branches(self, z_t: Tensor, timesteps: Tensor, condition: Tree) -> tuple[Tensor, Tensor]:
        """The network's own outputs (unconditional, conditional), in one call of both batches."""
        both = over_tree(lambda *parts: torch.cat(parts), self.unconditional(condition), condition)
        raw = self.raw_prediction(torch.cat([z_t, z_t]), torch.cat([timesteps, timesteps]), both)
        unconditional, conditional = raw.chunk(2)
        return unconditional, conditional

    def guide(self, unconditional: Tensor, conditional: Tensor, guidance: Guidance) -> Tensor:
        """Both branches, raw or clean latents, combined; the number may become one a view here."""
        scale = guidance.view(-1, 1, 1, 1) if isinstance(guidance, Tensor) else guidance
        return unconditional + scale * (conditional - unconditional)

    def predict(
        self, z_t: Tensor, timesteps: Tensor, condition: Tree, guidance: Guidance = 1.0
    ) -> Prediction:
        """x0 and epsilon at timesteps (B,); guidance 1 means conditional only (one network call)."""
        if isinstance(guidance, Tensor) or guidance != 1.0:
            raw = self.guide(*self.branches(z_t, timesteps, condition), guidance)
        else:
            raw = self.raw_prediction(z_t, timesteps, condition)
        return self.prediction(raw, z_t, timesteps)

    def checkpoint_gradients(self) -> None:
        """Let the parts that can repeat activations in the backward pass. UserError if none can."""
        able = [part for part in self.parts().values() if hasattr(part, "enable_gradient_checkpointing")]
        if not able:
            raise UserError(
                f"the generator {type(self).__name__} has no gradient checkpointing; set "
                "align.gradient_checkpointing to false"
            )
        for part in able:
            part.enable_gradient_checkpointing()  # type: ignore[operator]

    @contextmanager
    def adapters_off(self) -> Iterator[None]:
        """Inside, the denoiser is the frozen teacher: same base weights, LoRA off."""
        adapters = self._adapters()
        for adapter in adapters:
            adapter.enable_adapters(False)
        try:
            yield
        finally:
            for adapter in adapters:
                adapter.enable_adapters(True)

    @contextmanager
    def adapter(self, name: str) -> Iterator[None]:
        """Inside, the denoiser has the LoRA of this name in place of its own, which does not learn there."""
        self.use_adapter(name)
        try:
            yield
        finally:
            self.use_adapter(STUDENT)

    def use_adapter(self, name: str) -> None:
        """From now on the LoRA of this name is in use and learns, and no other."""
        for adapter in self._adapters():
            adapter.set_adapter(name)

    def _adapters(self) -> list[Any]:
        from peft.tuners.tuners_utils import BaseTunerLayer  # loaded if there are any

        return [module for module in self.denoiser.modules() if isinstance(module, BaseTunerLayer)]


class TakesMaps(ABC):
    """A generator whose condition can hold renderings of a 3D model. Its settings.py has `TAKES_MAPS = True`.

    `encode_condition` starts without any.
    """

    @abstractmethod
    def with_maps(self, condition: Tree, drawn: Rendering, cameras: Cameras) -> Tree:
        """The condition, with what was drawn (B, V, ...) at the cameras (B, V, 4, 4) in place of the last."""
