"""What every reconstructor offers: posed views in, Gaussians out."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from aligncvc.cameras import Cameras
from aligncvc.gaussians import Gaussians


class Reconstructor(Protocol):
    """A feed-forward network; implementations are nn.Modules."""

    def __call__(self, images: Tensor, cameras: Cameras) -> Gaussians:
        """images (B, V, 3, H, W) in [0, 1] on white, cameras (B, V, 4, 4) -> Gaussians (B, N)."""
