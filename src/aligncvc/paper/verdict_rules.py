"""How a line of the verdict is judged: an effect with its interval, and a rule that says whether it holds.

Nothing is decided by hand. Effects are means over objects of means over seeds, paired, with the 95 % interval
of the hierarchical bootstrap (`evaluate.stats`). A line without data neither holds nor fails: None.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from aligncvc.evaluate.catalogue import SET_OBJECT
from aligncvc.evaluate.records import MEAN_VIEW, Record
from aligncvc.evaluate.stats import (
    Interval,
    Samples,
    differences,
    interval,
    object_means,
    paired_interval,
    samples_of,
)
from aligncvc.paper.data import last_step
from aligncvc.paper.table_rows import NONE, describe, samples_by_metric

MARGINS = {"psnr": 0.1, "fg_psnr": 0.1, "residual_psnr": 0.1, "lpips": 0.005, "sharpness": 0.02}
"""What counts as reached: the interval may go this far to the worse side. Set before measuring."""

ROUNDING = 1e-6
"""LPIPS of one image differs by some 1e-8 with the size of the batch that it is computed in."""

RENDERINGS = "renderings:"
"""Prefix of the methods that are renderings, judged as if a generator had drawn them."""

INPUT_VIEW = 0
"""Ring index of the view that samplers are given."""

UNSEEN = {"unseen_psnr": "views_psnr", "unseen_fg_psnr": "views_fg_psnr"}
"""Generated views without the one at the input's pose, which a copy of the input has for nothing."""

DIRECTION: Mapping[str, Literal[-1, 1]] = {
    "sharpness": 1, "views_sharpness": 1, "gap_psnr": -1, **dict.fromkeys(UNSEEN, 1)
}  # fmt: skip
"""Which way is better, for metrics that only the verdict has."""

UNITS = {"psnr": "dB", "sharpness": "of ground truth's", "seconds": "s"}


@dataclass(frozen=True)
class Line:
    """One sentence with its number.

    claim: a to f, goal, table1 or control. effect, lo, hi: NaN where there is none. n: objects. main: whether
    the claim as a whole hangs on it. holds: None where it cannot be judged. rule: in words, what was asked.
    """

    claim: str
    statement: str
    metric: str
    effect: Interval
    n: int
    unit: str
    rule: str
    holds: bool | None
    note: str = ""
    main: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-serialisable; numbers that do not exist are null."""
        numbers = zip(("effect", "lo", "hi"), self.effect, strict=True)
        return {
            "claim": self.claim, "statement": self.statement, "metric": self.metric, "n": self.n,
            **{name: None if math.isnan(value) else round(value, 6) for name, value in numbers},
            "unit": self.unit, "rule": self.rule, "holds": self.holds, "note": self.note, "main": self.main,
        }  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """records: by method, renderings that were judged like views under `RENDERINGS` + method.

    verdicts: whether a metric ranks the controls (yes, no, n/a). memory: rows of memory.csv by variant.
    """

    records: Mapping[str, Sequence[Record]]
    seed: int = 0
    verdicts: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def _by_method(self) -> dict[str, Mapping[str, Samples]]:
        return {name: samples_by_metric(found) for name, found in self.records.items()}

    def samples(self, method: str, metric: str) -> Samples:
        """A method's numbers by (object, seed) after the last step; `gap_psnr` is |delta_psnr|."""
        if metric == "gap_psnr":
            return {key: abs(value) for key, value in self.samples(method, "delta_psnr").items()}
        if metric in UNSEEN:
            return unseen(self.records.get(method, []), UNSEEN[metric])
        found = self._by_method.get(method, {}).get(metric, {})
        return {key: value for key, value in found.items() if key[0] != SET_OBJECT}

    def of_set(self, method: str, metric: str) -> Interval:
        """A set-level metric with the interval that came with it."""
        found = self._by_method.get(method, {})
        parts = (found.get(metric + end, {}) for end in ("", "_lo", "_hi"))
        return Interval(*(next((v for (o, _), v in p.items() if o == SET_OBJECT), math.nan) for p in parts))

    def metrics(self, method: str) -> list[str]:
        """Every metric that a method has."""
        return list(self._by_method.get(method, {}))


def unseen(records: Sequence[Record], metric: str) -> Samples:
    """A metric of single views by (object, seed) after the last step: mean over views but the input's."""
    last, values = last_step(records, metric), defaultdict(list)
    for r in records:
        seen = r.view in (MEAN_VIEW, INPUT_VIEW)
        if (r.metric, r.step) == (metric, last) and not seen and not math.isnan(r.value):
            values[r.object, r.seed].append(r.value)
    return {key: math.fsum(found) / len(found) for key, found in values.items()}


def better(metric: str) -> int:
    """1: higher is better, -1: lower, 0: neither."""
    return DIRECTION.get(metric, describe(metric).better)


def unit(metric: str) -> str:
    """What a difference in this metric is measured in; empty for scores without a unit."""
    return next((word for key, word in UNITS.items() if metric.endswith(key)), "")


def missing(*pairs: tuple[str, str]) -> str:
    """Which numbers are absent."""
    return "n/a: no records of " + ", ".join(f"{metric} of {method}" for method, metric in pairs)


def compare(
    evidence: Evidence,
    claim: str,
    statement: str,
    one: str,
    other: str,
    metric: str,
    *,
    margin: float | None = None,
    at_least: float = 0.0,
    main: bool = True,
    note: str = "",
) -> Line:
    """`one` against `other`, paired; the effect is one - other in the metric's own direction and unit.

    It holds if the whole interval lies on the better side of zero and the mean is better by `at_least`; or,
    with a margin, if the interval's worse end is not beyond the margin.
    """
    a, b, sign = evidence.samples(one, metric), evidence.samples(other, metric), better(metric)
    gap = paired_interval(a, b, evidence.seed, "verdict", metric, one, other)
    n = len(object_means(differences(a, b)))
    worse = gap.lo if sign > 0 else -gap.hi
    if margin is not None:
        rule = f"worse by at most {margin:g}"
        holds: bool | None = worse > -margin
        note = "; ".join(filter(None, [note, "better too" if worse > 0 else ""]))
    else:
        rule = "better" + (f", the mean by {at_least:g} or more" if at_least else "")
        holds = worse > 0 and gap.mean * sign >= at_least
    if not n:
        absent = [(m, metric) for m, found in ((one, a), (other, b)) if not found] or [(one, metric)]
        holds, note = None, missing(*absent)
    elif not sign:
        holds, note = None, f"{metric} has no better side"
    return Line(claim, statement, metric, gap, n, unit(metric), rule, holds, note, main)


def ratio(
    evidence: Evidence,
    claim: str,
    statement: str,
    slow: str,
    fast: str,
    metric: str,
    *,
    at_least: float = 1.0,
) -> Line:
    """How many times less `fast` takes than `slow`: geometric mean over objects, paired.

    Holds if the interval's lower end reaches `at_least` (above it, where that is 1).
    """
    a, b = evidence.samples(slow, metric), evidence.samples(fast, metric)
    logs = {key: math.log(a[key] / b[key]) for key in a if b.get(key, 0) > 0 and a[key] > 0}
    found = interval(logs, evidence.seed, "verdict ratio", metric, slow, fast)
    times = Interval(*(math.exp(v) if not math.isnan(v) else v for v in found)) if logs else NONE
    n = len(object_means(logs))
    rule = "above 1" if at_least == 1 else f"{at_least:g} or more"
    low = round(times.lo, 9) if n else math.nan
    holds = (low > 1 if at_least == 1 else low >= at_least) if n else None
    note = "" if n else missing((slow, metric), (fast, metric))
    return Line(claim, statement, metric, times, n, "times", rule, holds, note)


def rises(evidence: Evidence, claim: str, statement: str, method: str, metric: str) -> Line:
    """A metric improves from each kept step to the next; the effect is the smallest mean improvement."""
    records, sign = list(evidence.records.get(method, [])), better(metric)
    last = last_step(records, metric)
    curves = [samples_of(records, metric, k) for k in range(1, last + 1)]
    gaps = [
        paired_interval(after, before, evidence.seed, "verdict step", metric, method, k)
        for k, (before, after) in enumerate(pairwise(curves), start=1)
    ]
    rule = "better from each step to the next"
    if not gaps:
        return Line(claim, statement, metric, NONE, 0, unit(metric), rule, None, missing((method, metric)))
    least = min(gaps, key=lambda gap: gap.mean * sign)
    n = len(object_means(differences(curves[1], curves[0])))
    steps = ", ".join(f"{k} to {k + 1}: {gap.mean:+.2f} [{gap.lo:.2f}, {gap.hi:.2f}]"
                      for k, gap in enumerate(gaps, start=1))  # fmt: skip
    holds = all(gap.excludes_zero and gap.mean * sign > 0 for gap in gaps)
    return Line(claim, statement, metric, least, n, unit(metric), rule, holds, f"steps {steps}")


def equal(evidence: Evidence, claim: str, statement: str, one: str, other: str, skip: Sequence[str]) -> Line:
    """Every metric that both have is the same number for each object and seed, up to ROUNDING.

    `skip` starts the names of metrics left out.

    The effect is the largest absolute difference; n counts the numbers compared.
    """
    shared = [m for m in evidence.metrics(one) if m in set(evidence.metrics(other)) and not m.startswith(
        tuple(skip))]  # fmt: skip
    gaps = [
        abs(gap)
        for metric in shared
        for gap in differences(evidence.samples(one, metric), evidence.samples(other, metric)).values()
    ]
    rule = f"no difference above {ROUNDING:g}, which is rounding"
    if not gaps:
        absent = [(m, "any metric") for m in (one, other) if not evidence.metrics(m)] or [(one, "any metric")]
        return Line(claim, statement, "all", NONE, 0, "", rule, None, missing(*absent))
    most = max(gaps)
    note = f"largest absolute difference of {len(gaps)} numbers in {len(shared)} metrics"
    objects = {name for metric in shared for name, _ in evidence.samples(one, metric)}
    return Line(
        claim,
        statement,
        "all",
        Interval(most, math.nan, math.nan),
        len(objects),
        "",
        rule,
        most <= ROUNDING,
        note,
    )


def apart(evidence: Evidence, claim: str, statement: str, one: str, other: str, metric: str) -> Line:
    """A set-level metric, which has no pairs: holds if `one` is better and the two intervals do not meet."""
    a, b, sign = evidence.of_set(one, metric), evidence.of_set(other, metric), better(metric)
    rule = "better, intervals apart"
    if math.isnan(a.mean) or math.isnan(b.mean):
        absent = [(m, metric) for m, v in ((one, a), (other, b)) if math.isnan(v.mean)]
        return Line(claim, statement, metric, NONE, 0, "", rule, None, missing(*absent), main=False)
    holds = a.hi < b.lo if sign < 0 else a.lo > b.hi
    note = f"{a.mean:.3f} [{a.lo:.3f}, {a.hi:.3f}] against {b.mean:.3f} [{b.lo:.3f}, {b.hi:.3f}]"
    gap = Interval(a.mean - b.mean, math.nan, math.nan)
    return Line(claim, statement, metric, gap, _objects(evidence, one), "", rule, holds, note, main=False)


def memory(evidence: Evidence, claim: str, statement: str, more: str, less: str, main: bool = True) -> Line:
    """Peak memory of one training step, two variants measured each in a process of its own; no interval."""
    rule, rows = "above 0", [evidence.memory.get(name) for name in (more, less)]
    if rows[0] is None or rows[1] is None:
        absent = ", ".join(n for n, row in zip((more, less), rows, strict=True) if row is None)
        return Line(claim, statement, "peak_mb", NONE, 0, "MB", rule, None,
                    f"n/a: memory.csv has no {absent}", main)  # fmt: skip
    a, b = (float(row["peak_mb"]) for row in rows if row is not None)
    note = f"{more} {a:.0f} MB, {less} {b:.0f} MB" + (f", {a / b:.2f} times" if b > 0 else "")
    return Line(
        claim, statement, "peak_mb", Interval(a - b, math.nan, math.nan), 0, "MB", rule, a > b, note, main
    )


def _objects(evidence: Evidence, method: str) -> int:
    return len({r.object for r in evidence.records.get(method, [])} - {SET_OBJECT})


def outcome(lines: Sequence[Line]) -> bool | None:
    """Whether all main lines hold: False if one does not, None if none fails and one cannot be judged."""
    judged = [line.holds for line in lines if line.main]
    if False in judged:
        return False
    return None if None in judged or not judged else True
