"""Uncertainty: a paired, hierarchical bootstrap over objects and seeds, and win rates.

Objects are the unit of chance: each resample draws objects with replacement and, within each drawn object,
its seeds. Percentiles are widened to the t quantiles that few objects need ("expanded percentile":
Hesterberg, What Teachers Should Know About the Bootstrap, 2015). On twelve normal objects the plain 95 %
percentile interval holds the true mean in 91 % of cases, the widened one in 94 %.

Costs are medians: a shared machine makes single samples slow, and a mean would follow those. Their resamples
go the same way, medians over resampled objects of medians over resampled seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from aligncvc.streams import numpy_stream

DRAWS = 2000
"""Resamples behind an interval."""

LEVEL = 0.95

Centre = Literal["mean", "median"]
"""What a row of numbers comes to, over seeds and then over objects."""

Samples = Mapping[tuple[str, int], float]
"""One metric of one method: a number for each (object, seed); NaN counts as absent."""


class Interval(NamedTuple):
    """A mean or a median with its 95 % interval; NaN: lo and hi of fewer than two objects, all of none."""

    centre: float
    lo: float
    hi: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False where there is none."""
        return self.lo > 0 or self.hi < 0


NONE = Interval(math.nan, math.nan, math.nan)
"""Where there is no number."""


class WinRate(NamedTuple):
    """Objects on which one method is better, on which both are equal, and that both have."""

    wins: int = 0
    ties: int = 0
    n: int = 0


def object_means(samples: Samples) -> dict[str, float]:
    """Each object's mean over its seeds, objects in order of name; without objects that have no number."""
    return {name: math.fsum(values) / len(values) for name, values in _by_object(samples).items()}


def interval(samples: Samples, seed: int, *names: object, centre: Centre = "mean") -> Interval:
    """Mean over objects of the mean over seeds, with its 95 % interval; seed, names: of the random stream.

    centre: "median" takes medians instead, of seeds and of objects.
    """
    groups = list(_by_object(samples).values())
    if not groups:
        return NONE
    if centre == "median":
        middle, draws = statistics.median(map(statistics.median, groups)), _resampled_medians
    else:
        middle, draws = math.fsum(math.fsum(v) / len(v) for v in groups) / len(groups), _resampled_means
    return Interval(middle, *percentile_interval(draws(groups, seed, *names), len(groups)))


def paired_interval(a: Samples, b: Samples, seed: int, *names: object, centre: Centre = "mean") -> Interval:
    """Mean (or median) difference a - b over the (object, seed) pairs that both have, with its interval."""
    return interval(differences(a, b), seed, *names, centre=centre)


def differences(a: Samples, b: Samples) -> dict[tuple[str, int], float]:
    """a - b on the (object, seed) pairs that both have."""
    return {key: a[key] - b[key] for key in a if key in b and not math.isnan(a[key] - b[key])}


def win_rate(a: Samples, b: Samples, better: Literal[-1, 1]) -> WinRate:
    """On how many objects a is better than b, seeds averaged; equal to six digits (of nine) is a tie."""
    gaps = object_means(differences(a, b))
    sizes = object_means({key: abs(a[key]) for key in a if key in b})
    ties = {name for name, gap in gaps.items() if abs(gap) <= 1e-6 * sizes[name]}
    wins = sum(gap * better > 0 for name, gap in gaps.items() if name not in ties)
    return WinRate(wins, len(ties), len(gaps))


def percentile_interval(draws: np.ndarray, objects: int) -> tuple[float, float]:
    """The 95 % interval of a statistic from its values (D,) of resampled objects; NaN for fewer than two."""
    if objects < 2:
        return math.nan, math.nan
    tail = ndtr(math.sqrt(objects / (objects - 1)) * stdtrit(objects - 1, (1 - LEVEL) / 2))
    lo, hi = np.quantile(np.asarray(draws, dtype=np.float64), [tail, 1 - tail])
    return float(lo), float(hi)


def _by_object(samples: Samples) -> dict[str, list[float]]:
    """Numbers of each object, objects by name and seeds in order."""
    numbers = sorted(item for item in samples.items() if not math.isnan(item[1]))
    groups = groupby(numbers, key=lambda item: item[0][0])
    return {name: [value for _, value in group] for name, group in groups}


def _resampled_means(groups: list[list[float]], seed: int, *names: object) -> np.ndarray:
    """(DRAWS,) means over resampled objects of the means over their resampled seeds."""
    chosen, table, counts = _drawn_objects(groups, seed, *names)
    if table.shape[1] == 1:
        return table[:, 0][chosen].mean(1)
    totals = np.zeros(chosen.shape)
    for numbers, within in _drawn_seeds(chosen, table, counts, seed, *names):
        totals += np.where(within, numbers, 0.0)
    return (totals / counts[chosen]).mean(1)


def _resampled_medians(groups: list[list[float]], seed: int, *names: object) -> np.ndarray:
    """(DRAWS,) medians over resampled objects of the medians over their resampled seeds."""
    chosen, table, counts = _drawn_objects(groups, seed, *names)
    if table.shape[1] == 1:
        return np.median(table[:, 0][chosen], axis=1)
    drawn = _drawn_seeds(chosen, table, counts, seed, *names)
    seeds = [np.where(within, numbers, np.nan) for numbers, within in drawn]
    return np.median(np.nanmedian(seeds, axis=0), axis=1)


def _drawn_objects(
    groups: list[list[float]], seed: int, *names: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(DRAWS, N) resampled objects, (N, seeds) their numbers padded by zeros, (N,) how many each has."""
    chosen = numpy_stream(seed, "bootstrap", *names).integers(0, len(groups), (DRAWS, len(groups)))
    counts = np.array([len(values) for values in groups])
    most = int(counts.max())
    return chosen, np.array([values + [0.0] * (most - len(values)) for values in groups]), counts


def _drawn_seeds(
    chosen: np.ndarray, table: np.ndarray, counts: np.ndarray, seed: int, *names: object
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw by draw of a seed within each drawn object: its number, and whether the object has as many."""
    stream, drawn = numpy_stream(seed, "bootstrap seeds", *names), counts[chosen]
    for k in range(table.shape[1]):
        which = (stream.random(chosen.shape) * drawn).astype(np.int64)
        yield table[chosen, which], k < drawn
