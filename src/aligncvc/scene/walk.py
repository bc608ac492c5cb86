"""The random order in which training takes the objects of a sharded set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aligncvc.scene.archives import OPEN_SHARDS
from aligncvc.streams import numpy_stream


class Walk:
    """An endless random order of positions: each object once an epoch, a few shards at a time.

    Shards are shuffled for each epoch and taken `window` at a time; the objects of a window are shuffled
    together. The nth position is a function of the counts, the seed and n alone. So any process may ask for
    any n, in any order, and a reader has no more than `window` shards in use.
    """

    def __init__(self, counts: Sequence[int], seed: int, window: int = OPEN_SHARDS) -> None:
        self.counts, self.seed, self.window = np.asarray(counts, np.int64), seed, window
        self.starts = np.cumsum(self.counts) - self.counts
        self.total = int(self.counts.sum())
        self._epoch = lru_cache(2)(self._shuffled_shards)
        self._objects = lru_cache(2)(self._shuffled_objects)

    def at(self, n: int) -> int:
        """The nth position."""
        epoch, rest = divmod(n, self.total)
        _, ends = self._epoch(epoch)
        number = int(np.searchsorted(ends, rest, side="right"))
        return int(self._objects(epoch, number)[rest - (ends[number - 1] if number else 0)])

    def _shuffled_shards(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shards in this epoch's order, where each window ends)."""
        order = numpy_stream(self.seed, "shards", epoch).permutation(len(self.counts))
        sums = [self.counts[order[i : i + self.window]].sum() for i in range(0, len(order), self.window)]
        return order, np.cumsum(sums)

    def _shuffled_objects(self, epoch: int, number: int) -> NDArray[np.int64]:
        """The positions of one window in their order."""
        shards = self._epoch(epoch)[0][number * self.window : (number + 1) * self.window]
        inside = np.concatenate([np.arange(self.counts[s]) + self.starts[s] for s in shards])
        return numpy_stream(self.seed, "objects", epoch, number).permutation(inside)
