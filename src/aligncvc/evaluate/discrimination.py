"""`python -m aligncvc.evaluate.discrimination`: which metrics tell right from wrong on this rig?

Whether a measure says anything depends on the rig, the objects and the size of the images. So each must rank
the controls: true views above jittered ones, and those above views of different objects, both with a paired
95 % interval over objects that excludes zero. One that does not is marked in every table; if the
configuration relies on it (evaluate.must_discriminate), the run fails.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from aligncvc.config import load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.catalogue import CATALOGUE, CONTROL_PREFIX, CONTROLS, Metric
from aligncvc.evaluate.records import FINAL_STEP, Record, concat
from aligncvc.evaluate.stats import Interval, interval, paired_interval, samples_of
from aligncvc.files import write_text
from aligncvc.ownership import claim_files, place

RANKED = ("gt", "jitter", "shuffled")
"""Controls from best to worst. `copy` has no place: its views agree, only ground truth says that they lie."""

FAMILIES = ("consistency", "image", "views")
"""Families that are judged, set-level metrics apart: a set has no order that shuffling could disturb."""

Verdict = Literal["yes", "no", "n/a"]

Scores = dict[tuple[str, int], float]


@dataclass(frozen=True)
class Judgement:
    """One metric: each control's mean, and both gaps turned so that positive is the right order."""

    metric: Metric
    means: Mapping[str, float]
    objects: int
    gt_over_jitter: Interval
    jitter_over_shuffled: Interval

    @property
    def verdict(self) -> Verdict:
        """n/a where a control has no number or there are fewer than two objects."""
        gaps = self.gt_over_jitter, self.jitter_over_shuffled
        if any(math.isnan(gap.lo) for gap in gaps):
            return "n/a"
        return "yes" if all(gap.lo > 0 for gap in gaps) else "no"


def judge(records: Sequence[Record], seed: int) -> list[Judgement]:
    """Judge every metric of FAMILIES in the controls' records. Raises UserError if a control is missing."""
    groups = {name: [r for r in records if r.method == CONTROL_PREFIX + name] for name in CONTROLS}
    missing = [name for name in RANKED if not groups[name]]
    if missing:
        raise UserError(
            f"there are no records of the control {missing[0]!r}; evaluate {', '.join(RANKED)} first"
        )
    measured = {r.metric for group in groups.values() for r in group}
    metrics = [m for m in CATALOGUE.values() if _is_judged(m) and m.name in measured]
    return [judge_metric(metric, groups, seed) for metric in metrics]


def _is_judged(metric: Metric) -> bool:
    """Whether controls have an order in it: a count of matches has none, a delta is best at zero."""
    ordered = metric.better != 0 or metric.name.startswith("delta_")
    return metric.family in FAMILIES and not metric.set_level and ordered


def judge_metric(metric: Metric, groups: Mapping[str, Sequence[Record]], seed: int) -> Judgement:
    """groups: records by control."""
    scores = {name: oriented(metric, group) for name, group in groups.items()}
    objects = {name for name, _ in set.intersection(*(set(scores[c]) for c in RANKED))}
    first, second = (
        paired_interval(scores[a], scores[b], seed, "discrimination", metric.name, a, b)
        for a, b in itertools.pairwise(RANKED)
    )
    means = {name: interval(_plain(metric, group), seed).mean for name, group in groups.items() if group}
    return Judgement(metric, means, len(objects), first, second)


def oriented(metric: Metric, records: Sequence[Record]) -> Scores:
    """A metric's numbers turned so that more is better; one without a direction is best at zero."""
    turn = (lambda x: -abs(x)) if metric.better == 0 else (lambda x: metric.better * x)
    return {key: turn(value) for key, value in _plain(metric, records).items()}


def _plain(metric: Metric, records: Sequence[Record]) -> Scores:
    steps = [r.step for r in records if r.metric == metric.name]
    return samples_of(records, metric.name, max(steps, default=FINAL_STEP))


COLUMNS = (
    "metric", "family", "discriminates", "objects", *CONTROLS,
    *(f"{gap}{end}" for gap in ("gt_over_jitter", "jitter_over_shuffled") for end in ("", "_lo", "_hi")),
)  # fmt: skip


def rows(judgements: Sequence[Judgement]) -> list[dict[str, str]]:
    """Formatted cells by column."""
    return [
        {
            "metric": j.metric.name,
            "family": j.metric.family,
            "discriminates": j.verdict,
            "objects": str(j.objects),
            **{name: _number(j.means.get(name, math.nan), j.metric) for name in CONTROLS},
            **{
                f"{gap}{end}": _number(value, j.metric)
                for gap in ("gt_over_jitter", "jitter_over_shuffled")
                for end, value in zip(("", "_lo", "_hi"), getattr(j, gap), strict=True)
            },
        }
        for j in judgements
    ]


def _number(value: float, metric: Metric) -> str:
    return "n/a" if math.isnan(value) else format(value, f".{metric.decimals + 1}f")


def as_csv(table: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def as_markdown(table: Sequence[Mapping[str, str]]) -> str:
    """A readable selection: means of the controls, both gaps with their intervals, the verdict."""
    head = [
        "metric",
        *(CONTROL_PREFIX + name for name in CONTROLS),
        "GT - jitter",
        "jitter - shuffled",
        "discriminates",
    ]
    lines = [head, ["---"] + ["---:"] * (len(head) - 2) + ["---"]]
    for row in table:
        gaps = [
            f"{row[g]} [{row[g + '_lo']}, {row[g + '_hi']}]"
            for g in ("gt_over_jitter", "jitter_over_shuffled")
        ]
        lines.append([f"`{row['metric']}`", *(row[name] for name in CONTROLS), *gaps, row["discriminates"]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + (
        "\nGaps: positive is the right order; paired 95 % bootstrap intervals over objects.\n"
    )


def require(judgements: Sequence[Judgement], names: Sequence[str], out: Path) -> None:
    """Raises UserError unless each named metric discriminates."""
    verdicts = {j.metric.name: j.verdict for j in judgements}
    wrong = [
        f"{name} ({verdicts.get(name, 'not measured')})" for name in names if verdicts.get(name) != "yes"
    ]
    if wrong:
        raise UserError(
            f"evaluate.must_discriminate relies on {', '.join(wrong)}, which does not rank the controls on "
            f"this rig; see {out}, and take it out of the list or measure with another protocol"
        )


@dataclass
class Discrimination:
    """Judge the consistency metrics by how they rank the controls."""

    metrics: list[Path]
    """CSVs of records of the controls."""
    out: Path
    """CSV to write; .md comes beside it. Written even if the run then fails."""
    config: Path | None = None
    """Configuration; config/config.yaml if left out."""
    force: bool = False
    """Replace files of another origin where the results go."""


def main() -> None:
    arguments = tyro.cli(Discrimination, prog="python -m aligncvc.evaluate.discrimination")
    config = load_config(arguments.config)
    page = arguments.out.with_suffix(".md")
    verdict = arguments.out.with_suffix(".judged.csv")  # the rule's output appears only if it passes
    claim_files([arguments.out, page, verdict], inputs=arguments.metrics, force=arguments.force)
    judgements = judge(concat(arguments.metrics), config.seed)
    table = rows(judgements)
    write_text(page, as_markdown(table))
    print(as_markdown(table))
    write_text(verdict, as_csv(table))
    require(judgements, config.evaluate.must_discriminate, verdict)
    place(verdict, arguments.out)


if __name__ == "__main__":
    cli(main)
