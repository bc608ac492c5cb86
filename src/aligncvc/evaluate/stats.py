"""Uncertainty: a paired, hierarchical bootstrap over objects and seeds, and win rates.

Objects are the unit of chance: each resample draws objects with replacement and, within each drawn object,
its seeds. Percentiles are widened to the t quantiles that few objects need ("expanded percentile":
Hesterberg, What Teachers Should Know About the Bootstrap, 2015). On twelve normal objects the plain 95 %
percentile interval holds the true mean in 91 % of cases, the widened one in 94 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from aligncvc.streams import numpy_stream

DRAWS = 2000
"""Resamples behind an interval."""

LEVEL = 0.95

Samples = Mapping[tuple[str, int], float]
"""One metric of one method: a number for each (object, seed); NaN counts as absent."""


class Interval(NamedTuple):
    """A mean with its 95 % interval; lo and hi are NaN for fewer than two objects, mean for none."""

    mean: float
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


def interval(samples: Samples, seed: int, *names: object) -> Interval:
    """Mean over objects of the mean over seeds, with its 95 % interval; seed, names: of the random stream."""
    groups = list(_by_object(samples).values())
    if not groups:
        return NONE
    mean = math.fsum(math.fsum(values) / len(values) for values in groups) / len(groups)
    lo, hi = percentile_interval(_resampled_means(groups, seed, *names), len(groups))
    return Interval(mean, lo, hi)


def paired_interval(a: Samples, b: Samples, seed: int, *names: object) -> Interval:
    """Mean difference a - b over the (object, seed) pairs that both have, with its interval."""
    return interval(differences(a, b), seed, *names)


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
    chosen = numpy_stream(seed, "bootstrap", *names).integers(0, len(groups), (DRAWS, len(groups)))
    counts = np.array([len(values) for values in groups])
    most = int(counts.max())
    table = np.array([values + [0.0] * (most - len(values)) for values in groups])
    if most == 1:
        return table[:, 0][chosen].mean(1)
    stream = numpy_stream(seed, "bootstrap seeds", *names)
    totals, drawn = np.zeros(chosen.shape), counts[chosen]
    for k in range(most):  # the k-th draw of a seed within each drawn object that has as many seeds
        which = (stream.random(chosen.shape) * drawn).astype(np.int64)
        totals += np.where(k < drawn, table[chosen, which], 0.0)
    return (totals / drawn).mean(1)
