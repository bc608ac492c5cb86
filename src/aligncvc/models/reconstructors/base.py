"""What every reconstructor offers: posed views in, Gaussians out."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians


class Reconstructor(Protocol):
    """A feed-forward network; implementations are nn.Modules."""

    def __call__(self, images: Tensor, cameras: Cameras) -> Gaussians:
        """images (B, V, 3, H, W) in [0, 1] on white, cameras (B, V, 4, 4) -> Gaussians (B, N)."""


def checkpoint_gradients(reconstructor: nn.Module) -> None:
    """Let the parts that can (`gradient_checkpointing`) keep no activations: a backward pass repeats them.

    Raises UserError for a network without such a part.
    """
    able = [m for m in reconstructor.modules() if hasattr(m, "gradient_checkpointing")]
    if not able:
        raise UserError(
            f"the reconstructor {type(reconstructor).__name__} has no gradient checkpointing; set "
            "align.gradient_checkpointing to false"
        )
    for module in able:
        module.gradient_checkpointing = True  # type: ignore[assignment]
