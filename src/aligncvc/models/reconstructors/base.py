"""What every reconstructor offers: posed views in, Gaussians out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians


@dataclass(frozen=True)
class At:
    """Where in sampling the views come from, for reconstructors that are told so.

    timesteps: (B,), the generator's, 0 for clean views. noisy: the decoded noisy latents (B, V, 3, H, W), or
    None. image: the input image (B, 3, H, W) in [0, 1] on white, or None: the first view stands for it.
    """

    timesteps: Tensor
    noisy: Tensor | None = None
    image: Tensor | None = None


class Reconstructor(Protocol):
    """A network; `sees` beside the views: if nothing, it is called without `at`.

    Both attributes may be left out, and may be properties.
    """

    sees: Literal["views", "time", "noisy"] = "views"
    clamped: bool = True
    """Whether views that a generator decodes are clamped to [0, 1] before it sees them."""

    def __call__(self, images: Tensor, cameras: Cameras, at: At | None = None) -> Gaussians:
        """images (B, V, 3, H, W) in [0, 1] on white -> Gaussians (B, N); at None: views of no generator."""


@runtime_checkable
class ProposesVoxels(Protocol):
    """A reconstructor that first decides where the object is, which its rendering loss does not train."""

    def occupancy(self, images: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """As its call -> logits (B, G, G, G) of x, y, z, and coordinates (B, G) of voxels in our world."""


def checkpoint_gradients(reconstructor: nn.Module) -> None:
    """Let the parts that can keep no activations (a backward pass repeats them). UserError if none can."""
    able = [m for m in reconstructor.modules() if hasattr(m, "gradient_checkpointing")]
    if not able:
        raise UserError(
            f"the reconstructor {type(reconstructor).__name__} has no gradient checkpointing; set "
            "align.gradient_checkpointing to false"
        )
    for module in able:
        module.gradient_checkpointing = True  # type: ignore[assignment]
