"""What a discriminator's heads can read: a frozen image encoder that gives features at several levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Self

from torch import Tensor, nn


class Level(NamedTuple):
    """One level's features of an image. spatial False: one vector, given as a map of 1 x 1."""

    channels: int
    spatial: bool = True


class LevelEncoder(nn.Module, ABC):
    """An image encoder whose `features` are differentiable with respect to images, and which never changes.

    levels: what `features` returns, in order. input_px: the side below which images should be enlarged
    before `features` sees them.
    """

    levels: Sequence[Level]
    input_px: int

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1], sides of at least input_px -> (N, C_l, h_l, w_l) for each level l."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, also as a part of a module that is being trained."""
        return super().train(False)
