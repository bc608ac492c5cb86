"""Which metrics tell right from wrong on this rig: how each ranks the controls.

Each must rank true views above jittered ones, and those above views of different objects, both with a paired
95 % interval over objects that excludes zero. One that does not is marked in every table; if the
configuration relies on it (evaluate.must_discriminate), the run fails. Whether it also ranks true views above
copies of the input is said beside that, and asked of none: copies of a round object agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, CONTROL_PREFIX, CONTROLS, Metric
from aligncvc.evaluate.scores import BOUNDS, Scores, control
from aligncvc.evaluate.stats import NONE, Interval, paired_interval

RANKED = ("gt", "jitter", "shuffled")
"""Controls from best to worst. `copy` is compared with gt alone: its views agree, and often rightly so."""

FAMILIES = ("consistency", "image", "views")
"""Families that are ranked, set-level metrics apart: a set has no order that shuffling could disturb."""

GAPS = {
    "gt_over_jitter": "GT - jitter", "jitter_over_shuffled": "jitter - shuffled", "gt_over_copy": "GT - copy",
}  # fmt: skip
"""The gaps of a `Ranking` and their headings."""

Verdict = Literal["yes", "no", "n/a"]


@dataclass(frozen=True)
class Ranking:
    """How one metric ranks the controls: each one's mean, and the gaps, positive in the right order."""

    metric: Metric
    means: Mapping[str, float]
    objects: int
    gt_over_jitter: Interval
    jitter_over_shuffled: Interval
    gt_over_copy: Interval = NONE

    @property
    def discriminates(self) -> Verdict:
        """n/a where a control has no number or there are fewer than two objects."""
        gaps = self.gt_over_jitter, self.jitter_over_shuffled
        if any(math.isnan(gap.lo) for gap in gaps):
            return "n/a"
        return "yes" if all(gap.lo > 0 for gap in gaps) else "no"

    @property
    def ranks_copy(self) -> Verdict:
        """Whether true views are above copies of the input."""
        gap = self.gt_over_copy
        return "n/a" if math.isnan(gap.lo) else "yes" if gap.lo > 0 else "no"

    @property
    def cells(self) -> dict[str, str]:
        """Formatted, by column of the table."""
        numbers = {name: self.means.get(name, math.nan) for name in CONTROLS}
        for gap in GAPS:
            numbers |= {gap + end: x for end, x in zip(("", *BOUNDS), getattr(self, gap), strict=True)}
        metric, digits = self.metric, f".{self.metric.decimals + 1}f"
        formatted = {key: "n/a" if math.isnan(x) else format(x, digits) for key, x in numbers.items()}
        words = {"metric": metric.name, "family": metric.family, "discriminates": self.discriminates}
        return {**words, "objects": str(self.objects), **formatted, "ranks_copy": self.ranks_copy}


def rank_controls(scores: Scores) -> list[Ranking]:
    """By every metric of FAMILIES that the controls have. Raises UserError if a control is missing."""
    missing = [name for name in RANKED if control(name) not in scores.keys]
    if missing:
        raise UserError(
            f"there are no records of the control {missing[0]!r}; evaluate {', '.join(RANKED)} first"
        )
    measured = {metric for name in CONTROLS for metric in scores.metrics(control(name))}
    return [_rank(m, scores) for m in CATALOGUE.values() if _is_ranked(m) and m.name in measured]


def _is_ranked(metric: Metric) -> bool:
    """Whether controls have an order in it: a count of matches has none, a delta is best at zero."""
    ordered = metric.better != 0 or metric.name.startswith("delta_")
    return metric.family in FAMILIES and not metric.set_level and ordered


def _rank(metric: Metric, scores: Scores) -> Ranking:
    values = {name: scores.oriented(control(name), metric.name) for name in CONTROLS}
    objects = {name for name, _ in set.intersection(*(set(values[name]) for name in RANKED))}
    gaps = (
        paired_interval(values[a], values[b], scores.seed, "discrimination", metric.name, a, b)
        for a, b in (*itertools.pairwise(RANKED), ("gt", "copy"))
    )
    present = [name for name in CONTROLS if control(name) in scores.keys]
    means = {name: scores.centre(control(name), metric.name).centre for name in present}
    return Ranking(metric, means, len(objects), *gaps)


def as_csv(rankings: Sequence[Ranking]) -> str:
    """All cells of the rankings as CSV, one metric a line."""
    return pd.DataFrame([ranking.cells for ranking in rankings]).to_csv(index=False, lineterminator="\n")


def as_markdown(rankings: Sequence[Ranking]) -> str:
    """A readable selection: means of the controls, the gaps with their intervals, the verdicts."""
    head = ["metric", *(CONTROL_PREFIX + name for name in CONTROLS), *GAPS.values()]
    lines = [[*head, "discriminates", "ranks copy"], ["---"] + ["---:"] * (len(head) - 1) + ["---"] * 2]
    for row in (ranking.cells for ranking in rankings):
        gaps = [f"{row[gap]} [{row[f'{gap}_lo']}, {row[f'{gap}_hi']}]" for gap in GAPS]
        means = (row[name] for name in CONTROLS)
        lines.append([f"`{row['metric']}`", *means, *gaps, row["discriminates"], row["ranks_copy"]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + (
        "\nGaps: positive is the right order; paired 95 % bootstrap intervals over objects.\n"
    )


def require(rankings: Sequence[Ranking], names: Sequence[str], out: Path) -> None:
    """Raises UserError unless each named metric discriminates."""
    verdicts = {ranking.metric.name: ranking.discriminates for ranking in rankings}
    found = {name: verdicts.get(name, "not measured") for name in names}
    wrong = [f"{name} ({verdict})" for name, verdict in found.items() if verdict != "yes"]
    if wrong:
        raise UserError(
            f"evaluate.must_discriminate relies on {', '.join(wrong)}, which does not rank the controls on "
            f"this rig; see {out}, and take it out of the list or measure with another protocol"
        )
