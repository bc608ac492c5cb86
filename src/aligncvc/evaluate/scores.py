"""The one place that turns records into numbers; two pairs that run one method are two rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, CONTROL_PREFIX, SET_OBJECT, centre_of
from aligncvc.evaluate.records import COLUMNS, FINAL_STEP, MEAN_VIEW, Record, concat
from aligncvc.evaluate.stats import Interval, Samples, interval, paired_interval

CONTROL_PAIR = "control"
"""What stands in the place of a pair in a control's records."""

FAILED = "failed"
"""The metric of samples: 1 for one that has no score, else 0."""

BOUNDS = ("_lo", "_hi")
"""Metrics of a whole set bring the ends of their interval along as two more metrics of these suffixes."""


class Key(NamedTuple):
    """One row of the tables. A control's is ("control", "control:<name>")."""

    pair: str
    method: str

    @property
    def control(self) -> bool:
        return self.pair == CONTROL_PAIR


def control(name: str) -> Key:
    """The key of a control, with or without its prefix."""
    return Key(CONTROL_PAIR, CONTROL_PREFIX + name.removeprefix(CONTROL_PREFIX))


class Scores:
    """Records of an experiment as one frame, and the numbers that they come to.

    seed, and `stream` of its methods: root and names of the bootstrap's random streams.
    """

    def __init__(self, records: Iterable[Record], seed: int) -> None:
        """Raises UserError if something was measured twice."""
        self.seed, records = seed, list(records)
        self.frame = pd.DataFrame({name: [getattr(r, name) for r in records] for name in COLUMNS})
        unique = ["pair", "method", "object", "seed", "view", "step", "metric"]
        twice = self.frame[self.frame.duplicated(unique)]
        if len(twice):
            first = twice.iloc[0]
            raise UserError(
                f"{first.metric} of {first.object}, seed {first.seed}, is recorded twice for method "
                f"{first.method} of pair {first.pair}; give each CSV once, and each method of a pair one CSV"
            )
        self._parts = self.frame.groupby(["pair", "method"], sort=False).indices
        self._last: dict[tuple[str, str, str], int] = {}
        self._values: dict[tuple[str, str, str, int], dict[tuple[str, int], float]] = defaultdict(dict)
        for r in records:
            if r.view == MEAN_VIEW and r.metric != FAILED:
                name = (r.pair, r.method, r.metric)
                self._last[name] = max(r.step, self._last.get(name, r.step))
                if not math.isnan(r.value):
                    self._values[*name, r.step][r.object, r.seed] = r.value

    @classmethod
    def read(cls, paths: Iterable[Path | str], seed: int, metrics: Collection[str] = ()) -> Scores:
        """Of CSVs that `python -m aligncvc.evaluate` wrote, only these metrics if some are named."""
        records = concat(paths)
        return cls([r for r in records if r.metric in metrics] if metrics else records, seed)

    @property
    def keys(self) -> list[Key]:
        """Pairs and methods in order of appearance."""
        rows = self.frame[["pair", "method"]].drop_duplicates()
        return [Key(*row) for row in rows.itertuples(index=False)]

    def part(self, *keys: Key) -> pd.DataFrame:
        """All records of these rows."""
        return pd.concat([self.frame.iloc[self._parts.get(key, [])] for key in dict.fromkeys(keys)])

    def metrics(self, key: Key) -> list[str]:
        """Every metric of a row, in order of appearance, also those without a number."""
        return [metric for pair, method, metric in self._last if (pair, method) == key]

    def last_step(self, key: Key, metric: str) -> int:
        """The last kept step 1..K at which a metric was measured; FINAL_STEP where at none."""
        return self._last.get((*key, metric), FINAL_STEP)

    def counted(self, keys: Iterable[Key]) -> str:
        """How many objects and seeds stand behind the numbers of these rows, in words."""
        found = self.part(*keys).query("object != @SET_OBJECT")
        objects, seeds = found["object"].nunique(), found["seed"].nunique()
        return f"{objects} object{'s' * (objects != 1)} and {seeds} seed{'s' * (seeds != 1)}"

    def values(self, key: Key, metric: str, step: int | None = None) -> dict[tuple[str, int], float]:
        """By (object, seed), means over views, without NaN. step: 1..K or FINAL_STEP; None: the last."""
        step = self.last_step(key, metric) if step is None else step
        return dict(self._values.get((*key, metric, step), {}))

    def values_of_views(
        self, key: Key, metric: str, without: Collection[int], step: int | None = None
    ) -> dict[tuple[str, int], float]:
        """As `values`, but the mean over all single views except these ring indices."""
        found, step = self.part(key), self.last_step(key, metric) if step is None else step
        found = found[(found["metric"] == metric) & (found["step"] == step)]
        found = found[~found["view"].isin({MEAN_VIEW, *without})].dropna(subset="value")
        return {
            (str(name), int(seed)): math.fsum(values) / len(values)
            for (name, seed), values in found.groupby(["object", "seed"])["value"]
        }

    def centre(
        self, key: Key, metric: str, step: int | None = None, stream: Sequence[object] = ()
    ) -> Interval:
        """Mean over objects of means over seeds with its 95 % interval; a set's metric has its own.

        Costs are medians over objects of medians over seeds.
        """
        found = self.values(key, metric, step)
        whole = {sample: value for sample, value in found.items() if sample[0] == SET_OBJECT}
        if not whole:
            return interval(found, self.seed, *stream, centre=centre_of(metric))
        lo, hi = (interval(self.values(key, metric + end, step), self.seed).centre for end in BOUNDS)
        return Interval(interval(whole, self.seed).centre, lo, hi)

    def curve(self, key: Key, metric: str, stream: Sequence[object] = ()) -> list[Interval]:
        """`centre` after each kept step 1..K; empty where the metric was measured at none."""
        points = [self.centre(key, metric, k, stream) for k in range(1, self.last_step(key, metric) + 1)]
        return points if any(not math.isnan(point.centre) for point in points) else []

    def paired(
        self, one: Key, other: Key, metric: str, step: int | None = None, stream: Sequence[object] = ()
    ) -> Interval:
        """As `centre`, of differences one - other on what both have; those of a set have no interval."""
        ours, theirs = self.values(one, metric, step), self.values(other, metric, step)
        return paired_interval(ours, theirs, self.seed, *stream, centre=centre_of(metric))

    def oriented(self, key: Key, metric: str) -> Samples:
        """`values` after the last step, turned so that more is better; without a direction zero is best."""
        better = CATALOGUE[metric].better
        turn = (lambda value: better * value) if better else (lambda value: -abs(value))
        return {sample: turn(value) for sample, value in self.values(key, metric).items()}
