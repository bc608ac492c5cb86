"""How a line of the verdict is judged: an effect with its interval, and a rule that says whether it holds.

Nothing is decided by hand. Effects are means over objects of means over seeds (medians of both for costs),
paired, with the 95 % interval of the hierarchical bootstrap (`evaluate.stats`). A line without data neither
holds nor fails: None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from aligncvc.evaluate.catalogue import SET_OBJECT, centre_of
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.set_draws import SetDraws, joint
from aligncvc.evaluate.stats import NONE, Interval, differences, interval, object_means, paired_interval
from aligncvc.paper.claims import Line, Rule, described

ROUNDING = 1e-6
"""LPIPS of one image differs by some 1e-8 with the size of the batch that it is computed in."""

INPUT_VIEW = 0
"""Ring index of the view that samplers are given."""

UNSEEN = {
    "unseen_psnr": "views_psnr",
    "unseen_fg_psnr": "views_fg_psnr",
    "unseen_union_psnr": "views_union_psnr",
}
"""Generated views without the one at the input's pose, which a copy of the input has for nothing."""

UNITS = {"psnr": "dB", "sharpness": "of ground truth's", "seconds": "s"}
"""By the end of a metric's name; scores have none."""

UNITS_OF_RULES = {
    "ratio": "times", "equal": "", "apart": "", "jointly": "", "one_better": "better", "more_memory": "MB",
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A line with its number. effect: NaN where there is none; holds: None where nothing tells."""

    line: Line
    effect: Interval
    n: int
    holds: bool | None
    note: str = ""

    @property
    def unit(self) -> str:
        """What the effect is measured in; empty for scores without a unit."""
        unit = next((word for end, word in UNITS.items() if self.line.metric.endswith(end)), "")
        return UNITS_OF_RULES.get(self.line.rule, unit)

    @property
    def rule(self) -> str:
        """In words, what was asked."""
        line = self.line
        return {
            "better": "better" + (f", the mean by {line.at_least:g} or more" if line.at_least else ""),
            "no_worse": f"worse by at most {line.margin:g}",
            "apart": "better, intervals apart",
            "jointly": "better on resamples of the same objects",
            "one_better": "one better, none worse by more than its margin",
            "ratio": f"{line.at_least:g} or more" if line.at_least else "above 1",
            "rises": "better from each step to the next",
            "equal": f"no difference above {ROUNDING:g}, which is rounding",
            "more_memory": "above 0",
        }[line.rule]

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-serialisable; numbers that do not exist are null."""
        line, numbers = self.line, zip(("effect", "lo", "hi"), self.effect, strict=True)
        return {
            "claim": line.claim, "statement": line.statement, "metric": line.named, "n": self.n,
            **{name: None if math.isnan(value) else round(value, 6) for name, value in numbers},
            "unit": self.unit, "rule": self.rule, "holds": self.holds, "note": self.note, "main": line.main,
        }  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """scores: of methods, controls and renderings judged like views. memory: memory.csv by variant.

    draws: resampled distances of a method's set.
    """

    scores: Scores
    memory: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    draws: Mapping[Key, SetDraws] = field(default_factory=dict)

    def values(self, key: Key, metric: str, step: int | None = None) -> Mapping[tuple[str, int], float]:
        """Numbers by (object, seed) after a step, None the last; also of metrics that only a verdict has."""
        if metric == "gap_psnr":
            return {sample: abs(value) for sample, value in self.values(key, "delta_psnr", step).items()}
        if metric in UNSEEN:
            return self.scores.values_of_views(key, UNSEEN[metric], {INPUT_VIEW}, step)
        values = self.scores.values(key, metric, step)
        return {sample: value for sample, value in values.items() if sample[0] != SET_OBJECT}

    def difference(self, line: Line, metric: str) -> tuple[Interval, int]:
        """`one` - `other` with its interval, paired, or of sets on joint resamples; of how many objects."""
        if described(metric).set_level:
            one, other = (self.draws.get(key) for key in (line.one, line.other))
            return (
                (NONE, 0) if one is None or other is None else (joint(one, other, metric), len(one.objects))
            )
        a = self.values(line.one, metric, line.step)
        b = self.values(line.other, metric, line.other_step)
        names = metric, line.one.method, line.other.method
        gap = paired_interval(a, b, self.scores.seed, "verdict", *names, centre=centre_of(metric))
        return gap, len(object_means(differences(a, b)))


def only(value: float) -> Interval:
    """A number without an interval."""
    return Interval(value, math.nan, math.nan)


def absent(line: Line, *keys: Key, what: str = "") -> Judged:
    """A line that cannot be judged, with what is missing."""
    missing = ", ".join(f"{what or line.metric} of {key.method}" for key in keys or (line.one,))
    return Judged(line, NONE, 0, None, f"n/a: no records of {missing}")


def better(line: Line, evidence: Evidence) -> Judged:
    """`one` against `other`, paired; the effect is one - other in the metric's own direction and unit.

    It holds if the whole interval lies on the better side of zero and the mean is better by `at_least`. As
    "no_worse" it holds if the interval's worse end is not beyond the margin.
    """
    sign = described(line.metric).better
    gap, n = evidence.difference(line, line.metric)
    if math.isnan(gap.centre) and described(line.metric).set_level:
        return Judged(line, NONE, 0, None, f"n/a: no resamples of {line.metric} on the same objects")
    if not n:
        sides = (line.one, line.step), (line.other, line.other_step)
        return absent(line, *(key for key, step in sides if not evidence.values(key, line.metric, step)))
    if not sign:
        return Judged(line, gap, n, None, f"{line.metric} has no better side")
    worse = gap.lo if sign > 0 else -gap.hi
    if line.rule != "no_worse":
        return Judged(line, gap, n, worse > 0 and gap.centre * sign >= (line.at_least or 0), line.note)
    note = "; ".join(filter(None, [line.note, "better too" if worse > 0 else ""]))
    return Judged(line, gap, n, worse > -line.margin, note)


def one_better(line: Line, evidence: Evidence) -> Judged:
    """Better in at least one of several metrics, and no worse in any; the effect counts the better ones.

    Both as in `better`: the whole interval on the better side of zero, its worse end not beyond the margin.
    """
    won, lost, objects = 0, 0, 0
    missing: list[str] = []
    words: list[str] = []
    for metric, margin in line.metrics:
        known, (gap, n) = described(metric), evidence.difference(line, metric)
        if not n or math.isnan(gap.centre):
            missing.append(metric)
            continue
        worse = gap.lo if known.better > 0 else -gap.hi
        answer = "better" if worse > 0 else "no worse" if worse > -margin else "may be worse"
        won, lost, objects = won + (worse > 0), lost + (worse <= -margin), max(objects, n)
        centre, lo, hi = (f"{value:+.{known.decimals}f}" for value in gap)
        words.append(f"{known.heading} {centre} [{lo}, {hi}] {answer}")
    lacking = f"n/a: {', '.join(missing)}" if missing else ""
    note = "; ".join(filter(None, [line.note, *words, lacking]))
    if not words:
        return Judged(line, NONE, 0, None, note)
    holds = False if lost else None if missing else won > 0
    return Judged(line, only(won), objects, holds, note)


def ratio(line: Line, evidence: Evidence) -> Judged:
    """How many times less `other` takes than `one`, paired: median over objects, geometric mean if no cost.

    Holds if the interval's lower end reaches `at_least`, or is above 1 without it.
    """
    slow, fast = evidence.values(line.one, line.metric), evidence.values(line.other, line.metric)
    logs = {key: math.log(slow[key] / fast[key]) for key in slow if fast.get(key, 0) > 0 and slow[key] > 0}
    if not logs:
        return absent(line, *(key for key, found in ((line.one, slow), (line.other, fast)) if not found))
    names = line.metric, line.one.method, line.other.method
    found = interval(logs, evidence.scores.seed, "verdict ratio", *names, centre=centre_of(line.metric))
    times = Interval(*map(math.exp, found))
    low = round(times.lo, 9)
    return Judged(line, times, len(object_means(logs)), low >= line.at_least if line.at_least else low > 1)


def rises(line: Line, evidence: Evidence) -> Judged:
    """A metric improves from each kept step to the next; the effect is the smallest mean improvement."""
    scores, sign = evidence.scores, described(line.metric).better
    last = scores.last_step(line.one, line.metric)
    curves = [scores.values(line.one, line.metric, k) for k in range(1, last + 1)]
    gaps = [
        paired_interval(after, before, scores.seed, "verdict step", line.metric, line.one.method, k)
        for k, (before, after) in enumerate(pairwise(curves), start=1)
    ]
    if not gaps:
        return absent(line)
    least = min(gaps, key=lambda gap: gap.centre * sign)
    words = [f"{k} to {k + 1}: {g.centre:+.2f} [{g.lo:.2f}, {g.hi:.2f}]" for k, g in enumerate(gaps, start=1)]
    holds = all(gap.excludes_zero and gap.centre * sign > 0 for gap in gaps)
    n = len(object_means(differences(curves[1], curves[0])))
    return Judged(line, least, n, holds, f"steps {', '.join(words)}")


def equal(line: Line, evidence: Evidence) -> Judged:
    """Every metric that both have is the same number for each object and seed, up to ROUNDING.

    The effect is the largest absolute difference; n counts the objects compared.
    """
    one, other = (evidence.scores.metrics(key) for key in (line.one, line.other))
    shared = [m for m in one if m in set(other) and not m.startswith(line.skipped)]
    gaps = {
        (metric, *sample): abs(gap)
        for metric in shared
        for sample, gap in differences(*(evidence.values(k, metric) for k in (line.one, line.other))).items()
    }
    if not gaps:
        lacking = [key for key, metrics in ((line.one, one), (line.other, other)) if not metrics]
        return absent(line, *lacking, what="any metric")
    most = max(gaps.values())
    note = f"largest absolute difference of {len(gaps)} numbers in {len(shared)} metrics"
    return Judged(line, only(most), len({name for _, name, _ in gaps}), most <= ROUNDING, note)


def apart(line: Line, evidence: Evidence) -> Judged:
    """A set-level metric, which has no pairs: holds if `one` is better and the two intervals do not meet."""
    a, b = (evidence.scores.centre(key, line.metric) for key in (line.one, line.other))
    if math.isnan(a.centre) or math.isnan(b.centre):
        return absent(line, *(k for k, v in ((line.one, a), (line.other, b)) if math.isnan(v.centre)))
    note = f"{a.centre:.3f} [{a.lo:.3f}, {a.hi:.3f}] against {b.centre:.3f} [{b.lo:.3f}, {b.hi:.3f}]"
    n = len(set(evidence.scores.part(line.one)["object"]) - {SET_OBJECT})
    holds = a.hi < b.lo if described(line.metric).better < 0 else a.lo > b.hi
    return Judged(line, only(a.centre - b.centre), n, holds, note)


def more_memory(line: Line, evidence: Evidence) -> Judged:
    """Peak memory of one training step, two variants measured each in a process of its own; no interval."""
    more, less = line.one.method, line.other.method
    if lacking := [name for name in (more, less) if name not in evidence.memory]:
        return Judged(line, NONE, 0, None, f"n/a: memory.csv has no {', '.join(lacking)}")
    a, b = (float(evidence.memory[name]["peak_mb"]) for name in (more, less))
    note = f"{more} {a:.0f} MB, {less} {b:.0f} MB" + (f", {a / b:.2f} times" if b > 0 else "")
    return Judged(line, only(a - b), 0, a > b, note)


RULES: dict[Rule, Callable[[Line, Evidence], Judged]] = {
    "better": better,
    "no_worse": better,
    "apart": apart,
    "jointly": better,
    "one_better": one_better,
    "ratio": ratio,
    "rises": rises,
    "equal": equal,
    "more_memory": more_memory,
}


def judge(lines: Iterable[Line], evidence: Evidence) -> list[Judged]:
    """Every line by its rule."""
    return [RULES[line.rule](line, evidence) for line in lines]


def outcome(judged: Sequence[Judged]) -> bool | None:
    """Whether all main lines hold: False if one does not, None if none fails and one cannot be judged."""
    answers = [one.holds for one in judged if one.line.main]
    if False in answers:
        return False
    return None if None in answers or not answers else True
