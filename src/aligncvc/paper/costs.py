"""The cost table: what one object takes, by part of the sampler, with the machine it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.stats import NONE
from aligncvc.paper.reading import read
from aligncvc.paper.table_blocks import cell, key_cells, key_columns, steps_cell
from aligncvc.paper.table_formats import Block, Cell, Column, Table, write_table_files
from aligncvc.paper.table_rows import TableRows, describe, known_rows, table_row
from aligncvc.paper.tables import interval_texts, key_texts

COSTS = tuple(metric.name for metric in CATALOGUE.values() if metric.family == "cost")

UNKNOWN = "unknown"


def cost_rows(job: PaperJob, scores: Scores) -> TableRows:
    """One row for each method of the configuration, then other people's, then controls that have a cost.

    scores: of costs alone. Raises UserError if there is none.
    """
    measured = scores.keys
    if not measured:
        raise UserError("no record is a cost (such as seconds); evaluate sampled methods and give their CSVs")
    others = sorted((key for key in measured if key not in known_rows(job)), key=lambda key: key.control)
    total = scores.frame["object"].nunique()
    return TableRows("costs", [table_row(job, scores, key, total) for key in (*known_rows(job), *others)])


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
    shown = [name for name in COSTS if name in table.metrics]
    used = list(dict.fromkeys(machines.get(row.key, UNKNOWN) for row in table.rows if row.values))
    several = len(used) > 1
    columns = [*key_columns(table), Column("Steps"), *(Column(describe(n).arrow) for n in shown)]
    lines = [
        (
            *key_cells(table, row.key),
            steps_cell(row),
            *(cell(name, row.values.get(name, NONE)) for name in shown),
            *[Cell(machines.get(row.key, UNKNOWN))] * several,
        )
        for row in table.rows
    ]
    notes = [
        "One object at a time, after one that is thrown away; means over objects, brackets hold their 95 % "
        "interval. Seconds is the sum of the parts; files and what only figures need do not count.",
        "Network calls count a guided evaluation of the generator as two. Peak MB is the device's on a GPU, "
        "else the process's.",
        *[f"Hardware: {machine}." for machine in used if not several],
    ]
    columns += [Column("Hardware", words=True)] * several
    return Table((Block("Cost", tuple(columns), tuple(lines), table.controls),), tuple(notes))


def write_costs(job: PaperJob, metrics: Sequence[Path], samples: Sequence[Path], out: Path) -> TableRows:
    """Write `out` (CSV) and its .md, .tex and .json twins.

    metrics: CSVs of records; samples: manifest.json of each method. Raises UserError as cost_rows and
    read_hardware, and for records of different protocols.
    """
    table = cost_rows(job, Scores.read(metrics, job.seed, COSTS))
    machines = read_hardware(samples)
    lines = [
        key_texts(row) | interval_texts(row.values, COSTS) | {"hardware": machines.get(row.key, UNKNOWN)}
        for row in table.rows
    ]
    write_table_files(out, lay_out_costs(table, machines), lines)
    return table
