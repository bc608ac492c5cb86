"""What won, for people with half a minute: a sentence and five rows, from the numbers of table 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.evaluate.scores import BOUNDS, Key, control
from aligncvc.paper.pair_results import lead_row
from aligncvc.paper.reading import read, table_rows
from aligncvc.paper.table_formats import DASH, Block, Cell, Column
from aligncvc.paper.table_rows import NOT_AVAILABLE, describe, number

COLUMNS = ("residual_psnr", "lpips", "network_calls", "seconds", "cpu_seconds")

CONTROLS = ("gt", "copy")
"""The ends between which a method stands: the true views, and the input repeated at every pose."""

Line = Mapping[str, str]
"""A row of table1.csv."""


class Headline(NamedTuple):
    """lead, reference: methods, the second empty without one. better, worse, level: metrics in words.

    By how much, where the paired interval, in brackets, excludes zero.

    calls: network calls of both, empty where unknown or equal. block: the five rows. objects: behind them.
    """

    lead: str
    reference: str
    better: list[str]
    worse: list[str]
    level: list[str]
    calls: tuple[str, ...]
    block: Block
    objects: str


def read_headline(job: PaperJob, table: Path) -> Headline | None:
    """Of the first pair that table1.csv has numbers of; None without the file or such a pair.

    Raises UserError for a file that is no such table.
    """
    if not table.exists():
        return None
    columns = ("method", "pair", "objects", "best", "reference")
    lines = read(table, lambda text: table_rows(text, columns), "is not a readable table", "make it again")
    found = {Key(line["pair"], line["method"]): line for line in lines if line["objects"] not in ("", "0")}
    for pair in job.pairs:
        rows = [row for row in job.rows if (row.pair, row.method) in found]
        if rows := [row for row in rows if row.pair == pair.name]:
            break
    else:
        return None
    lead = lead_row(rows)
    line = found[Key(lead.pair, lead.method)]
    reference = found.get(Key(lead.pair, line["reference"]))
    plain = [r for r in rows if (r.feedback, r.steps, r.alignment) == (lead.feedback, lead.steps, "none")]
    names = [line["reference"], *(row.method for row in plain), lead.method]
    keys = [*(Key(lead.pair, name) for name in dict.fromkeys(names)), *map(control, CONTROLS)]
    shown = {key: found[key] for key in keys if key in found}
    words = _compared(job, line) if reference else {}
    calls = tuple(one.get("network_calls", NOT_AVAILABLE) for one in (line, reference or {}))
    known = NOT_AVAILABLE not in calls and len(set(calls)) == 2
    return Headline(
        lead=lead.method,
        reference=line["reference"] if reference else "",
        **{kind: words.get(kind, []) for kind in ("better", "worse", "level")},
        calls=calls if known else (),
        block=_block(shown),
        objects=line["objects"],
    )


def _compared(job: PaperJob, line: Line) -> dict[str, list[str]]:
    """Metrics with a paired difference to the reference, by what its interval says."""
    words: dict[str, list[str]] = {}
    for name in job.paper.compared:
        mean, lo, hi = (line.get(f"{name}_vs_reference{end}", NOT_AVAILABLE) for end in ("", *BOUNDS))
        if NOT_AVAILABLE in (mean, lo, hi):
            continue
        metric, apart = describe(name), float(lo) > 0 or float(hi) < 0
        kind = "level" if not apart else "better" if float(mean) * metric.better > 0 else "worse"
        size, *ends = (number(name, abs(float(end))) for end in (mean, lo, hi))
        low, high = sorted(ends, key=float)
        amount = f"{size} dB" if name.endswith("psnr") else size
        words.setdefault(kind, []).append(
            f"{amount} of {metric.heading} [{low}, {high}]" if apart else metric.heading
        )
    return words


def _block(shown: Mapping[Key, Line]) -> Block:
    """The rows under those of COLUMNS that one of them has a number in."""
    names = [
        n for n in COLUMNS if any(line.get(n, NOT_AVAILABLE) != NOT_AVAILABLE for line in shown.values())
    ]
    rows = tuple((Cell(key.method), *(_cell(line, name) for name in names)) for key, line in shown.items())
    columns = Column("Method", words=True), *(Column(describe(name).arrow) for name in names)
    return Block("", columns, rows, sum(key.control for key in shown))


def _cell(line: Line, name: str) -> Cell:
    text, lo, hi = (line.get(name + end, NOT_AVAILABLE) for end in ("", *BOUNDS))
    best: dict[str, Any] = {"best": name in line["best"].split(";")}
    text = DASH if text == NOT_AVAILABLE else text
    return Cell(text, **best) if NOT_AVAILABLE in (lo, hi) else Cell(text, lo, hi, **best)
