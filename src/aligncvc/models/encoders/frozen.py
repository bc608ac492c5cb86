"""What frozen image encoders share, and what a discriminator's heads can read: features at several levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's colours."""


class Frozen(nn.Module):
    """A network that never changes and stays in evaluation mode; differentiable with respect to images."""

    mean: Tensor
    std: Tensor

    def keep_colours(self, mean_and_std: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        """Make `mean` and `std` (3, 1, 1) buffers that are no weights."""
        for name, values in zip(("mean", "std"), mean_and_std, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def freeze(self) -> None:
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, also as a part of a module that is being trained."""
        return super().train(False)


class Level(NamedTuple):
    """One level's features of an image. spatial False: one vector, given as a map of 1 x 1."""

    channels: int
    spatial: bool = True


class LevelEncoder(Frozen, ABC):
    """levels: what `features` returns, in order. input_px: the side below which images should be enlarged."""

    levels: Sequence[Level]
    input_px: int

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1], sides of at least input_px -> (N, C_l, h_l, w_l) for each level l."""
