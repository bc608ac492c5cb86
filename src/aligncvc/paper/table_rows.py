"""Rows of the paper's tables, aggregated from records: numbers with intervals, comparisons, what is best.

A number is the mean over objects of each object's mean over seeds, of costs the median of medians, with the
95 % interval of a bootstrap over both (`evaluate.stats`). A row is best in a column only where the paired
interval of its difference to every other row that is no control excludes zero. Clocks have to agree on it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from aligncvc.config.jobs.paper import PaperJob, Row
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, SET_OBJECT, Metric
from aligncvc.evaluate.scores import BOUNDS, FAILED, Key, Scores, control
from aligncvc.evaluate.stats import NONE, Interval, WinRate, win_rate

NOT_AVAILABLE = "n/a"

CLOCKS = ("seconds", "cpu_seconds")
"""Two readings of one effort. Methods run one after another, so a busy hour slows every object of one of
them, and no interval over objects shows it; whoever shares the machine is not in CPU seconds."""

ALIGNMENTS = (
    "none", "official", "regression", "recon only", "gan only", "soft", "fake score", "hard", "both",
)  # fmt: skip
"""The order of the ablation's rows."""

GEOMETRY: dict[str, Literal[-1, 0, 1]] = {"chamfer_": -1, "depth_": -1, "f_": 1, "volume_iou": 1}
"""How measures of geometry begin, and which way is better; others (the ladder's own facts) have none."""


@dataclass(frozen=True)
class Comparison:
    """A row against its reference: paired difference (row - reference), objects it is better on."""

    difference: Interval = NONE
    wins: WinRate = field(default_factory=WinRate)


@dataclass(frozen=True)
class TableRow:
    """One method of one pair. steps: None where unknown. objects: with at least one score, of `total`.

    failed: samples without a score. values: by metric. reference: the row it is compared with. best: metrics
    in which it is set in bold.
    """

    key: Key
    alignment: str
    steps: int | None
    objects: int
    total: int
    seeds: int
    failed: int
    values: Mapping[str, Interval]
    reference: Key | None = None
    compared: dict[str, Comparison] = field(default_factory=dict)
    best: set[str] = field(default_factory=set)

    def against(self, metric: str) -> Comparison:
        """The comparison with the reference; without numbers where there is none."""
        return self.compared.get(metric, Comparison())


@dataclass(frozen=True)
class TableRows:
    """All rows of a table, pair by pair, controls last. compared: metrics compared with the reference."""

    table: str
    rows: list[TableRow]
    compared: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """Every metric that some row has, in the catalogue's order, others by name."""
        measured = {name for row in self.rows for name in row.values}
        return [n for n in CATALOGUE if n in measured] + sorted(measured - CATALOGUE.keys())

    @property
    def pairs(self) -> list[str]:
        """Names of the pairs, controls aside."""
        return list(dict.fromkeys(row.key.pair for row in self.rows if not row.key.control))


def describe(metric: str) -> Metric:
    """The catalogue's entry; for geometry (`<measure>@<rung of the alignment ladder>`) made from the name.

    A name that neither knows gets no direction: nobody can be best in it.
    """
    if metric in CATALOGUE:
        return CATALOGUE[metric]
    measure, _, rung = metric.partition("@")
    if not rung:
        return Metric(metric, metric, 0, 4, "image")
    better: Literal[-1, 0, 1] = next((s for start, s in GEOMETRY.items() if measure.startswith(start)), 0)
    words = measure.replace("_", " ").replace("f ", "F-score at ", 1 if measure.startswith("f_") else 0)
    heading = f"{words[:1].upper()}{words[1:]}, aligned: {rung.replace('_', ' ')}"
    return Metric(metric, heading, better, 4, "geometry")


def number(metric: str, value: float) -> str:
    """A measured value with its metric's fixed decimals, or n/a."""
    if math.isnan(value):
        return NOT_AVAILABLE
    text = format(value, f".{describe(metric).decimals}f")
    return text.removeprefix("-") if float(text) == 0 else text


def known_rows(job: PaperJob, table: str | None = None) -> dict[Key, Row]:
    """The configuration's rows by key, all or those of a table; table2 goes by alignment, then steps."""
    rows = [row for row in job.rows if table is None or table in row.tables]
    if table == "table2":
        pairs = [pair.name for pair in job.pairs]
        rows.sort(key=lambda row: (pairs.index(row.pair), ALIGNMENTS.index(row.alignment), row.steps))
    return {Key(row.pair, row.method): row for row in rows}


def table_row(job: PaperJob, scores: Scores, key: Key, total: int) -> TableRow:
    """One row, not yet compared with others."""
    row, part = known_rows(job).get(key), scores.part(key)
    of_objects = part[part["object"] != SET_OBJECT]
    names = [name for name in scores.metrics(key) if not name.endswith(BOUNDS)]
    found = {name: scores.centre(key, name, stream=("table", name)) for name in names}
    return TableRow(
        key=key,
        alignment=row.alignment if row else "",
        steps=row.steps if row else None,
        objects=of_objects["object"][of_objects["metric"] != FAILED].nunique(),
        total=total,
        seeds=of_objects["seed"].nunique(),
        failed=int(((part["metric"] == FAILED) & (part["value"] == 1)).sum()),
        values={name: value for name, value in found.items() if not math.isnan(value.centre)},
    )


def reference_row(job: PaperJob, table: str, pair: str) -> Key | None:
    """The row of a pair that its others are compared with (paper.reference, or the rule told there).

    None if none fits. Raises UserError if paper.reference names a method that the table does not show.
    """
    everywhere = known_rows(job, table)
    shown = {key.method: row for key, row in everywhere.items() if key.pair == pair}
    named = {str(key): name for key, name in job.paper.reference.items()}.get(table)
    methods = sorted({key.method for key in everywhere})
    if named is not None and named not in methods:
        raise UserError(
            f"paper.reference.{table} names {named!r}, which {table} does not show; "
            f"choose one of {', '.join(methods)}"
        )
    if named is None and table == "table1":
        two_stage = [name for name, row in shown.items() if row.feedback == "two_stage"]
        named = max(two_stage, key=lambda name: shown[name].steps, default=None)
    elif named is None:
        usual = Counter(row.steps for row in shown.values())
        aware = [n for n, row in shown.items() if row.feedback == "aligncvc" and row.alignment == "none"]
        named = max(aware, key=lambda name: usual[shown[name].steps], default=None)
    return Key(pair, named) if named in shown else None


def compare(scores: Scores, one: Key, reference: Key, metric: str) -> Comparison:
    """Paired by object and seed. Neither is better in a metric without a direction: no wins."""
    better = describe(metric).better
    wins = win_rate(scores.values(one, metric), scores.values(reference, metric), better) if better else None
    difference = scores.paired(one, reference, metric, stream=("paired", metric))
    return Comparison(difference, wins or WinRate())


def best_row(scores: Scores, rows: Sequence[TableRow], metric: str) -> TableRow | None:
    """The row that is better than every other one, each paired difference's interval excluding zero.

    Controls and rows without the metric do not take part; None if the data name no such row, and for metrics
    of a whole set, whose differences have no pairs.
    """
    better = describe(metric).better
    runners = [row for row in rows if not row.key.control and metric in row.values]
    if not better or len(runners) < 2:
        return None
    first = max(runners, key=lambda row: better * row.values[metric].centre)
    others = (row.key for row in runners if row is not first)
    gaps = (scores.paired(first.key, other, metric, stream=("paired", metric)) for other in others)
    return first if all(gap.excludes_zero and gap.centre * better > 0 for gap in gaps) else None


def build_rows(job: PaperJob, table: str, scores: Scores) -> TableRows:
    """All rows of a table with comparisons and what is best: the configuration's, others', the controls.

    A row is compared with the reference of its own pair; controls and other people's rows where there is one
    reference only. A method without records has no values and 0 objects. Raises UserError if neither the
    configuration nor the records have a method for this table, or none of them has records.
    """
    shown, measured = list(known_rows(job, table)), scores.keys
    strangers = [key for key in measured if key not in known_rows(job)]
    if not shown and all(key.control for key in strangers):
        raise UserError(
            f"no method of sample.methods is in {table!r}, and no record is of another; name the table in "
            "its `tables` list, or for table1 a folder in evaluate.predictions"
        )
    controls = [*map(control, job.controls), *(key for key in strangers if key.control)]
    keys = [*shown, *(key for key in strangers if not key.control), *dict.fromkeys(controls)]
    if not set(measured) & set(keys):
        raise UserError(
            f"no record is of a method that {table} shows ({', '.join(key.method for key in keys)}); "
            "give the CSVs that python -m aligncvc.evaluate wrote for them"
        )
    total = len(set(scores.frame["object"]) - {SET_OBJECT})
    rows = [table_row(job, scores, key, total) for key in keys]
    valued = {row.key for row in rows if row.values}
    references = {key.pair: reference_row(job, table, key.pair) for key in shown}
    references = {pair: key for pair, key in references.items() if key in valued}
    single = len({key.pair for key in shown}) == len(references) == 1
    only = next(iter(references.values())) if single else None
    for i, row in enumerate(rows):
        reference = references.get(row.key.pair, only)
        other = None if reference == row.key else reference  # which is compared with nothing
        names = [name for name in job.paper.compared if other and name in row.values]
        compared = {name: compare(scores, row.key, other, name) for name in names if other}
        rows[i] = replace(row, reference=reference, compared=compared)
    table_rows = TableRows(table, rows, tuple(job.paper.compared))
    for metric in table_rows.metrics:
        read = [name for name in CLOCKS if name in table_rows.metrics] if metric in CLOCKS else [metric]
        first, *others = [best_row(scores, rows, name) for name in read]
        if first and all(other is first for other in others):
            first.best.add(metric)
    return table_rows
