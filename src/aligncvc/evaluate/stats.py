"""Uncertainty: a paired, hierarchical bootstrap over objects and seeds, and win rates.

Objects are the unit of chance: each resample draws objects with replacement and, within each drawn object,
its seeds. Percentiles are widened to the t quantiles that few objects need ("expanded percentile":
Hesterberg, What Teachers Should Know About the Bootstrap, 2015). On twelve normal objects the plain 95 %
percentile interval holds the true mean in 91 % of cases, the widened one in 94 %.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record
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


def samples_of(
    records: Iterable[Record], metric: str, step: int = FINAL_STEP
) -> dict[tuple[str, int], float]:
    """The numbers of one metric at one step by (object, seed): means over views, without NaN."""
    return {
        (r.object, r.seed): r.value
        for r in records
        if (r.metric, r.step, r.view) == (metric, step, MEAN_VIEW) and not math.isnan(r.value)
    }


def object_means(samples: Samples) -> dict[str, float]:
    """Each object's mean over its seeds, objects in order of name; without objects that have no number."""
    return {name: math.fsum(values) / len(values) for name, values in _by_object(samples).items()}


def interval(samples: Samples, seed: int, *names: object) -> Interval:
    """Mean over objects of the mean over seeds, with its 95 % bootstrap interval.

    seed, names: of the random stream. The result does not depend on the order of `samples`.
    """
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
    """On how many objects a is better than b (better 1: higher, -1: lower), seeds averaged.

    Equal to six digits is a tie: records keep nine.
    """
    gaps = object_means(differences(a, b))
    sizes = object_means({key: abs(a[key]) for key in a if key in b})
    ties = {name for name, gap in gaps.items() if abs(gap) <= 1e-6 * sizes[name]}
    wins = sum(gap * better > 0 for name, gap in gaps.items() if name not in ties)
    return WinRate(wins, len(ties), len(gaps))


def resampled_objects(count: int, seed: int, *names: object) -> np.ndarray:
    """(DRAWS, count) indices in [0, count): which objects each resample holds. For set-level metrics."""
    return numpy_stream(seed, "bootstrap", *names).integers(0, count, (DRAWS, count))


def percentile_interval(draws: np.ndarray, objects: int) -> tuple[float, float]:
    """The 95 % interval of a statistic from its resampled values, (D,); NaN for fewer than two objects.

    objects: how many were resampled; few of them widen the percentiles (see the module's head).
    """
    if objects < 2:
        return math.nan, math.nan
    tail = ndtr(math.sqrt(objects / (objects - 1)) * stdtrit(objects - 1, (1 - LEVEL) / 2))
    lo, hi = np.quantile(np.asarray(draws, dtype=np.float64), [tail, 1 - tail])
    return float(lo), float(hi)


def _by_object(samples: Samples) -> dict[str, list[float]]:
    """Numbers of each object, objects by name and seeds in order."""
    groups: dict[str, list[float]] = defaultdict(list)
    for (name, _), value in sorted(samples.items()):
        if not math.isnan(value):
            groups[name].append(value)
    return dict(groups)


def _resampled_means(groups: list[list[float]], seed: int, *names: object) -> np.ndarray:
    """(DRAWS,) means over resampled objects of the means over their resampled seeds."""
    chosen = resampled_objects(len(groups), seed, *names)
    counts = np.array([len(values) for values in groups])
    most = int(counts.max())
    table = np.zeros((len(groups), most))
    for i, values in enumerate(groups):
        table[i, : len(values)] = values
    if most == 1:
        return table[:, 0][chosen].mean(1)
    stream = numpy_stream(seed, "bootstrap seeds", *names)
    totals, drawn = np.zeros(chosen.shape), counts[chosen]
    for k in range(most):  # the k-th draw of a seed within each drawn object that has as many seeds
        which = (stream.random(chosen.shape) * drawn).astype(np.int64)
        totals += np.where(k < drawn, table[chosen, which], 0.0)
    return (totals / drawn).mean(1)
