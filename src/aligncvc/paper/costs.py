"""The cost table: what one object takes, by part of the sampler, with the machine it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.records import Record, concat
from aligncvc.paper.table_blocks import DASH, cell
from aligncvc.paper.table_formats import Block, Cell, Column, Table
from aligncvc.paper.table_rows import CONTROL, NONE, Row, by_method, describe, method_row, number
from aligncvc.paper.tables import write_twins

COSTS = tuple(metric.name for metric in CATALOGUE.values() if metric.family == "cost")

UNKNOWN = "unknown"


def cost_rows(config: Config, records: Sequence[Record]) -> list[Row]:
    """One row for each method of the configuration, then other people's, then controls that have a cost.

    Raises UserError if no record is a cost.
    """
    groups = by_method([r for r in records if r.metric in COSTS])
    if not groups:
        raise UserError("no record is a cost (such as seconds); evaluate sampled methods and give their CSVs")
    total = len({r.object for r in records})
    others = sorted((name for name in groups if name not in config.sample.methods), key=_is_control)
    return [method_row(config, m, groups.get(m, []), total) for m in (*config.sample.methods, *others)]


def _is_control(method: str) -> bool:
    return method.startswith(CONTROL)


def read_hardware(manifests: Sequence[Path]) -> dict[str, str]:
    """The machine that each method was sampled on, from its manifest.json; "unknown" where that is not said.

    Raises UserError for a file that is no manifest of samples.
    """
    machines = {}
    for path in manifests:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            machines[str(data["method"])] = str(data.get("hardware", UNKNOWN))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is not a readable sample manifest ({error!r}); run python -m aligncvc.sample first"
            ) from error
    return machines


def lay_out_costs(rows: Sequence[Row], machines: Mapping[str, str]) -> Table:
    """What was measured, in the catalogue's order; the machine below, or in a column if there are several."""
    shown = [name for name in COSTS if any(name in row.values for row in rows)]
    used = list(dict.fromkeys(machines.get(row.method, UNKNOWN) for row in rows if row.values))
    columns = [Column("Method", words=True), Column("Steps"), *(Column(describe(n).arrow) for n in shown)]
    lines = []
    for row in rows:
        steps = DASH if row.steps is None else str(row.steps)
        cells = [Cell(row.method), Cell(steps), *(cell(n, row.values.get(n, NONE)) for n in shown)]
        lines.append((*cells, Cell(machines.get(row.method, UNKNOWN))) if len(used) > 1 else tuple(cells))
    if len(used) > 1:
        columns.append(Column("Hardware", words=True))
    notes = [
        "One object at a time, after one that is thrown away; means over objects, brackets hold their 95 % "
        "interval. Seconds is the sum of the parts; files and what only figures need do not count.",
        "Network calls count a guided evaluation of the generator as two. Peak MB is the device's on a GPU, "
        "else the process's.",
        *([f"Hardware: {used[0]}."] if len(used) == 1 else []),
    ]
    block = Block("Cost", tuple(columns), tuple(lines), sum(row.control for row in rows))
    return Table((block,), tuple(notes))


def cost_cells(row: Row, machines: Mapping[str, str]) -> dict[str, str]:
    """One line of the CSV by column."""
    cells = {"method": row.method, "steps": "" if row.steps is None else str(row.steps)}
    cells["objects"] = str(row.objects)
    for name in COSTS:
        mean, lo, hi = (number(name, value) for value in row.values.get(name, NONE))
        cells |= {name: mean, f"{name}_lo": lo, f"{name}_hi": hi}
    return cells | {"hardware": machines.get(row.method, UNKNOWN)}


def write_costs(config: Config, metrics: Sequence[Path], samples: Sequence[Path], out: Path) -> list[Row]:
    """Write `out` (CSV) and its .md, .tex and .json twins.

    metrics: CSVs of records; samples: manifest.json of each method. Raises UserError as cost_rows and
    read_hardware, and for records of different protocols.
    """
    rows, machines = cost_rows(config, concat(metrics)), read_hardware(samples)
    write_twins(out, lay_out_costs(rows, machines), [cost_cells(row, machines) for row in rows])
    return rows
