"""Rows of the paper's tables, aggregated from records: numbers with intervals, comparisons, what is best.

A number is the mean over objects of each object's mean over seeds, with the 95 % interval of a bootstrap over
both (`evaluate.stats`). A row is best in a column only where the paired interval of its difference to every
other row that is no control excludes zero.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, SET_OBJECT, Metric
from aligncvc.evaluate.records import MEAN_VIEW, Record
from aligncvc.evaluate.stats import Interval, Samples, WinRate, interval, paired_interval, win_rate

NOT_AVAILABLE = "n/a"
NONE = Interval(math.nan, math.nan, math.nan)

CONTROL = "control:"
"""The methods whose rows close every table."""

LEADING = ("psnr", "ssim", "lpips", "residual_psnr", "seconds", "peak_mb")
"""Metrics whose means come first in a CSV, for scripts that count columns."""

BOUNDS = ("_lo", "_hi")
"""Set-level metrics come with their interval as two more metrics of these suffixes."""

ALIGNMENTS = ("none", "official", "regression", "soft", "hard", "both")
"""The order of the ablation's rows."""

GEOMETRY: dict[str, Literal[-1, 0, 1]] = {"chamfer_": -1, "depth_": -1, "f_": 1, "volume_iou": 1}
"""How measures of geometry begin, and which way is better; others (the ladder's own facts) have none."""

MetricSamples = Mapping[str, Samples]


@dataclass(frozen=True)
class Comparison:
    """A row against the reference: mean paired difference (row - reference), objects it is better on."""

    difference: Interval
    wins: WinRate


@dataclass(frozen=True)
class Row:
    """One method. steps: None where unknown. objects: with at least one score, of `total` in the set.

    failed: samples without a score. values: by metric. best: metrics in which it is set in bold.
    """

    method: str
    pair: str
    alignment: str
    steps: int | None
    objects: int
    total: int
    seeds: int
    failed: int
    samples: MetricSamples
    values: Mapping[str, Interval]
    compared: dict[str, Comparison] = field(default_factory=dict)
    best: set[str] = field(default_factory=set)

    @property
    def control(self) -> bool:
        return self.method.startswith(CONTROL)


@dataclass(frozen=True)
class Rows:
    """All rows of a table, controls last. reference: the method that the others are compared with."""

    table: str
    rows: list[Row]
    reference: str | None
    compared: tuple[str, ...]

    @property
    def metrics(self) -> list[str]:
        """Every metric that some row has, in the catalogue's order, others by name."""
        found = {name for row in self.rows for name in row.values}
        return [n for n in CATALOGUE if n in found] + sorted(found - CATALOGUE.keys())


def by_method(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records of each method, in order of appearance."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.method].append(record)
    return dict(groups)


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


def alignment(config: Config, method: str) -> str:
    """What the method was aligned by (see `AlignRun.alignment`), or none; empty for a method of others."""
    if method not in config.sample.methods:
        return ""
    name = config.sample.methods[method].run
    return "none" if name is None else config.align.runs[name].alignment


def samples_by_metric(records: Iterable[Record]) -> dict[str, dict[tuple[str, int], float]]:
    """Means over views by metric and (object, seed), at the last kept step that the metric has."""
    steps: dict[str, int] = {}
    found: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for r in records:
        if r.view != MEAN_VIEW or r.metric == "failed" or r.step < steps.get(r.metric, r.step):
            continue
        if r.step > steps.get(r.metric, r.step):
            found[r.metric].clear()
        steps[r.metric] = r.step
        found[r.metric][r.object, r.seed] = r.value
    return dict(found)


def measure(samples: MetricSamples, seed: int) -> dict[str, Interval]:
    """Each metric's mean and interval; set-level metrics bring theirs along."""
    known = {name: s for name, s in samples.items() if any(not math.isnan(v) for v in s.values())}
    values = {}
    for name, found in known.items():
        whole = {key: value for key, value in found.items() if key[0] == SET_OBJECT}
        if not whole:
            values[name] = interval(found, seed, "table", name)
        elif not name.endswith(BOUNDS):
            lo, hi = (interval(known.get(name + end, {}), seed).mean for end in BOUNDS)
            values[name] = Interval(interval(whole, seed).mean, lo, hi)
    return values


def method_row(config: Config, method: str, records: Sequence[Record], total: int) -> Row:
    """One row, not yet compared with others."""
    samples = samples_by_metric(records)
    known = method in config.sample.methods
    return Row(
        method=method,
        pair=" / ".join(dict.fromkeys(r.pair for r in records)) or config.pair,
        alignment=alignment(config, method),
        steps=config.sample.methods[method].steps if known else None,
        objects=len({r.object for r in records if r.metric != "failed"} - {SET_OBJECT}),
        total=total,
        seeds=len({r.seed for r in records if r.object != SET_OBJECT}),
        failed=sum(r.metric == "failed" and r.value == 1 for r in records),
        samples=samples,
        values=measure(samples, config.seed),
    )


def table_methods(config: Config, table: str, found: Iterable[str]) -> list[str]:
    """Methods of the table, then other people's among the records, then the controls.

    table1 keeps the configuration's order; table2 goes by alignment, then steps. Raises UserError if the
    configuration shows no method in this table.
    """
    methods = [name for name, method in config.sample.methods.items() if table in method.table]
    if not methods:
        raise UserError(f"no method of sample.methods is in {table!r}; name the table in its `table` list")
    if table == "table2":
        methods.sort(key=lambda m: (ALIGNMENTS.index(alignment(config, m)), config.sample.methods[m].steps))
    others = [name for name in found if name not in config.sample.methods]
    controls = [CONTROL + name for name in config.evaluate.controls]
    controls += [name for name in others if name.startswith(CONTROL)]
    return [*methods, *(n for n in others if not n.startswith(CONTROL)), *dict.fromkeys(controls)]


def reference_method(config: Config, table: str) -> str | None:
    """The row that others are compared with (paper.reference, or the rule told there); None if none fits.

    Raises UserError if paper.reference names a method that the table does not show.
    """
    shown = {name: m for name, m in config.sample.methods.items() if table in m.table}
    named = {str(key): name for key, name in config.paper.reference.items()}.get(table)
    if named is not None:
        if named not in shown:
            raise UserError(
                f"paper.reference.{table} names {named!r}, which {table} does not show; "
                f"choose one of {', '.join(shown)}"
            )
        return named
    if table == "table1":
        two_stage = [name for name, m in shown.items() if m.sampler == "two_stage"]
        return max(two_stage, key=lambda name: shown[name].steps, default=None)
    usual = Counter(m.steps for m in shown.values())
    aware = [n for n, m in shown.items() if m.sampler == "aligncvc" and alignment(config, n) == "none"]
    return max(aware, key=lambda name: usual[shown[name].steps], default=None)


def compare(row: Row, reference: Row, metric: str, seed: int) -> Comparison:
    """Paired by object and seed. Neither is better in a metric without a direction: no wins."""
    ours, theirs = row.samples.get(metric, {}), reference.samples.get(metric, {})
    better = describe(metric).better
    return Comparison(
        paired_interval(ours, theirs, seed, "paired", metric),
        win_rate(ours, theirs, better) if better else WinRate(0, 0, 0),
    )


def best_row(rows: Sequence[Row], metric: str, seed: int) -> Row | None:
    """The row that is better than every other one, each paired difference's interval excluding zero.

    Controls and rows without the metric do not take part; None if the data name no such row, and for metrics
    of a whole set, whose differences have no pairs.
    """
    better = describe(metric).better
    runners = [row for row in rows if not row.control and metric in row.values]
    if not better or len(runners) < 2:
        return None
    first = max(runners, key=lambda row: better * row.values[metric].mean)
    for other in runners:
        if other is not first:
            gap = paired_interval(first.samples[metric], other.samples[metric], seed, "paired", metric)
            if not (gap.excludes_zero and gap.mean * better > 0):
                return None
    return first


def build_rows(config: Config, table: str, records: Sequence[Record]) -> Rows:
    """All rows of a table with comparisons and what is best.

    A method without records has no values and 0 objects. Raises UserError if the configuration shows no
    method in this table or none of them has records.
    """
    groups = by_method(records)
    methods = table_methods(config, table, groups)
    if not groups.keys() & set(methods):
        raise UserError(
            f"no record is of a method that {table} shows ({', '.join(methods)}); "
            "give the CSVs that python -m aligncvc.evaluate wrote for them"
        )
    total = len({r.object for r in records} - {SET_OBJECT})
    rows = [method_row(config, name, groups.get(name, []), total) for name in methods]
    named = reference_method(config, table)
    reference = next((row for row in rows if row.method == named and row.values), None)
    found = Rows(table, rows, reference.method if reference else None, tuple(config.paper.compared))
    for row in rows:
        if reference is not None and row is not reference:
            row.compared.update(
                {m: compare(row, reference, m, config.seed) for m in found.compared if m in row.values}
            )
    for metric in found.metrics:
        first = best_row(rows, metric, config.seed)
        if first is not None:
            first.best.add(metric)
    return found
