"""Tables of the paper: a row a method, as CSV (all numbers) and Markdown, LaTeX and JSON twins (a choice).

`table_rows` makes the numbers, `table_layout` lays them out for people, `table_formats` writes them down. The
cost table says what one object takes, by part of the sampler, with the machine it was measured on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.stats import NONE, Interval
from aligncvc.paper.inputs import TableInputs
from aligncvc.paper.reading import read
from aligncvc.paper.table_formats import Cell, Column, Table, write_table_files
from aligncvc.paper.table_layout import STEPS, block_of, lay_out, metric_column, read_facts
from aligncvc.paper.table_rows import TableRow, TableRows, build_rows, known_rows, number, table_row

LEADING = ("psnr", "ssim", "lpips", "residual_psnr", "seconds", "peak_mb")
"""Metrics whose values come first in a CSV, for scripts that count columns."""

COSTS = tuple(metric.name for metric in CATALOGUE.values() if metric.family == "cost")

UNKNOWN = "unknown"
"""A machine that no manifest names."""


def key_texts(row: TableRow) -> dict[str, str]:
    """The columns that open every CSV."""
    steps = "" if row.steps is None else str(row.steps)
    return {"method": row.key.method, "pair": row.key.pair, "steps": steps, "objects": str(row.objects)}


def interval_texts(values: Mapping[str, Interval], names: Iterable[str], what: str = "") -> dict[str, str]:
    """Three columns a metric: its value and the ends of its interval. what: comes after the metric's name."""
    return {
        name + what + end: number(name, part)
        for name in names
        for end, part in zip(("", "_lo", "_hi"), values.get(name, NONE), strict=True)
    }


def csv_line(table: TableRows, row: TableRow) -> dict[str, str]:
    """One line of the CSV by column."""
    metrics = [*LEADING, *(name for name in table.metrics if name not in LEADING)]
    line = key_texts(row) | {name: number(name, row.values.get(name, NONE).centre) for name in LEADING}
    line |= {
        "alignment": row.alignment,
        "objects_total": str(row.total),
        "seeds": str(row.seeds),
        "failed": str(row.failed),
        "best": ";".join(name for name in metrics if name in row.best),
    }
    line |= interval_texts(row.values, metrics)
    for name in table.compared:
        other = row.against(name)
        line |= interval_texts({name: other.difference}, [name], "_vs_reference")
        counts = zip(("wins", "ties", "pairs"), other.wins, strict=True)
        line |= {f"{name}_{what}": str(count) if name in row.compared else "" for what, count in counts}
    return line | {"reference": row.reference.method if row.reference else ""}


def write_table(job: PaperJob, inputs: TableInputs, out: Path) -> TableRows:
    """Write `out` (CSV) and its .md, .tex and .json twins; the CSV comes last.

    Raises UserError for files that are unreadable or measured by different protocols, and as build_rows.
    """
    rows = build_rows(job, inputs.table, Scores.read(inputs.metrics, job.seed))
    facts = read_facts(inputs.metrics, inputs.discrimination, inputs.reported)
    write_table_files(out, lay_out(job, rows, facts), [csv_line(rows, row) for row in rows.rows])
    return rows


def read_hardware(manifests: Sequence[Path]) -> dict[Key, str]:
    """The machine that each row was sampled on, from its manifest.json; "unknown" where that is not said.

    Raises UserError for a file that is no manifest of samples.
    """

    def parse(text: str) -> tuple[Key, str]:
        manifest = json.loads(text)
        key = Key(str(manifest["pair"]), str(manifest["method"]))
        return key, str(manifest.get("hardware", UNKNOWN))

    mend = "run python -m aligncvc.sample first"
    return dict(read(path, parse, "is not a readable sample manifest", mend) for path in manifests)


def lay_out_costs(table: TableRows, machines: Mapping[Key, str]) -> Table:
    """What was measured, in the catalogue's order; the machine below, or in a column if there are several."""
    used = list(dict.fromkeys(machines.get(row.key, UNKNOWN) for row in table.rows if row.values))
    machine = Column("Hardware", words=True), lambda row: Cell(machines.get(row.key, UNKNOWN))
    shown = [metric_column(name) for name in COSTS if name in table.metrics]
    block = block_of(table, "Cost", table.rows, [STEPS, *shown, *[machine] * (len(used) > 1)])
    notes = (
        "One object at a time, after one that is thrown away; medians over objects, brackets hold their 95 % "
        "interval. Seconds is the sum of the parts; files and what only figures need do not count.",
        "Seconds are the clock's and include what others took of the machine; CPU seconds are those that the "
        "sampler's threads computed, on a GPU the host's alone.",
        "Network calls count a guided evaluation of the generator as two. Peak MB is the device's on a GPU, "
        "else the process's.",
        *[f"Hardware: {name}." for name in used if len(used) == 1],
    )
    return Table((block,), notes)


def write_costs(job: PaperJob, metrics: Sequence[Path], samples: Sequence[Path], out: Path) -> None:
    """Write `out` (CSV) and its .md, .tex and .json twins: methods, other people's, controls with a cost.

    metrics: CSVs of records; samples: manifest.json of each method. Raises UserError as read_hardware, for
    records of different protocols, and if none is a cost.
    """
    scores = Scores.read(metrics, job.seed, COSTS)
    if not scores.keys:
        raise UserError("no record is a cost (such as seconds); evaluate sampled methods and give their CSVs")
    known, total = known_rows(job), scores.frame["object"].nunique()
    others = sorted((key for key in scores.keys if key not in known), key=lambda key: key.control)
    table = TableRows("costs", [table_row(job, scores, key, total) for key in (*known, *others)])
    machines = read_hardware(samples)
    lines = [
        key_texts(row) | interval_texts(row.values, COSTS) | {"hardware": machines.get(row.key, UNKNOWN)}
        for row in table.rows
    ]
    write_table_files(out, lay_out_costs(table, machines), lines)
