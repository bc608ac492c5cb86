"""Published numbers: config/reported/*.csv, each with paper, table and how it was measured.

They stand beside ours only where the protocol's class is the same: InstantMesh alone has 18.1, 19.9, 22.8 and
23.2 dB on "GSO" in four papers. `results/reported.md` lists them all. A cell that nobody could read is a row
without a value and with the reason; a user who knows the number writes it there with its source.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.files import write_text
from aligncvc.paper.reading import read, shipped
from aligncvc.paper.table_formats import DASH, Block, Cell, Column, Table, as_json, as_markdown

MEASURES: dict[str, str] = shipped("measures.yaml")
"""Headings of measures that papers report in a convention of their own, which the catalogue lacks."""


@dataclass(frozen=True)
class Reported:
    """One published number. text: as printed, empty where it could not be read (then `note` says why).

    metric: a name of the catalogue or of MEASURES. unit: unit or convention. protocol_class: what may stand
    beside it. table: where in the paper.
    """

    method: str
    metric: str
    text: str
    unit: str
    dataset: str
    protocol_class: str
    paper: str
    table: str
    note: str
    url: str

    @property
    def value(self) -> float | None:
        """The number, None where it could not be read."""
        return float(self.text) if self.text else None


COLUMNS = tuple("value" if field.name == "text" else field.name for field in fields(Reported))
_NEEDED = ("method", "dataset", "protocol_class", "paper", "table", "url")


def read_reported(paths: Iterable[Path]) -> list[Reported]:
    """Published numbers of several CSVs, in order.

    Raises UserError, naming file and line, for a number that is none, a metric nobody knows, a missing paper,
    table, data set, protocol class or address, a missing value without a reason, or a number given twice.
    """

    def parse(text: str) -> list[list[str]]:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))

    seen: dict[tuple[str, ...], str] = {}
    found: list[Reported] = []
    for path in paths:
        head, *rows = read(path, parse, "is not a readable CSV of published numbers", "correct it") or [[]]
        if tuple(head) != COLUMNS:
            raise UserError(
                f"{path} has not the columns of published numbers ({','.join(COLUMNS)}); correct it"
            )
        for number, row in enumerate(rows, start=2):
            where = f"{path}, line {number}"
            if fault := _fault(row):
                raise UserError(f"{where} {fault}")
            entry = _entry(row)
            key = (entry.method, entry.metric, entry.dataset, entry.protocol_class, entry.paper, entry.table)
            if key in seen:
                raise UserError(f"{where} repeats {seen[key]} ({', '.join(key)}); keep one of them")
            seen[key] = where
            found.append(entry)
    return found


def _entry(row: Sequence[str]) -> Reported:
    return Reported(*(cell.strip() for cell in row))


def _fault(row: Sequence[str]) -> str | None:
    """What is wrong with a line, and how to mend it."""
    if len(row) != len(COLUMNS):
        return f"has {len(row)} cells instead of {len(COLUMNS)}; quote cells that hold commas"
    entry = _entry(row)
    if lacking := [name for name in _NEEDED if not getattr(entry, name)]:
        return f"has no {lacking[0]}; say where the number comes from"
    if entry.metric not in CATALOGUE and entry.metric not in MEASURES:
        known = ", ".join([*MEASURES, "a metric of python -m aligncvc.evaluate such as psnr or views_psnr"])
        return f"has the unknown metric {entry.metric!r}; use one of {known}"
    try:
        finite = entry.value is None or math.isfinite(entry.value)
    except ValueError:
        finite = False
    if not finite:
        return f"has the value {entry.text!r}, which is no number; leave it empty if unknown"
    if entry.value is None and not entry.note:
        return "has no value and no note; write the reason into the note"
    return None


def heading(metric: str) -> str:
    """Of a column, with an arrow that says which way is better."""
    return CATALOGUE[metric].arrow if metric in CATALOGUE else MEASURES[metric]


def write_reported(paths: Sequence[Path], out: Path) -> int:
    """Write all published numbers as a Markdown page and, for the report, as .json beside it.

    Returns how many values there are. Raises UserError as read_reported.
    """
    found = read_reported(paths)
    sections = list(tables_by_paper(found))
    twin = [{"paper": p, "url": url, "title": title, **asdict(table)} for p, url, title, table in sections]
    write_text(out.with_suffix(".json"), as_json(twin))
    parts = [
        "# Numbers that papers report\n\n"
        "As printed, from config/reported/*.csv. The protocol decides such numbers more than the method, so "
        "they stand in our tables only where the protocol's class is the same.\n"
    ]
    shown = ""
    for paper, url, title, table in sections:
        if paper != shown:
            parts.append(f"## {paper}\n" + (f"\n<{url}>\n" if url else ""))
            shown = paper
        parts.append((f"### {title}\n\n" if title else "") + as_markdown(table))
    write_text(out, "\n".join(parts))
    return sum(entry.value is not None for entry in found)


def tables_by_paper(found: Sequence[Reported]) -> Iterator[tuple[str, str, str, Table]]:
    """(paper, address, title, table) of each table of a paper and protocol class; last the spread of PSNR."""
    papers = list(dict.fromkeys(entry.paper for entry in found))
    groups: dict[tuple[str, str, str], list[Reported]] = {}
    for entry in sorted(found, key=lambda entry: papers.index(entry.paper)):
        groups.setdefault((entry.paper, entry.table, entry.protocol_class), []).append(entry)
    for (paper, table, kind), group in groups.items():
        yield paper, group[0].url, f"{table}: {group[0].dataset} (class {kind})", _table(group)
    spread = _same_method(found)
    if spread.blocks[0].rows:
        yield "The same method on GSO in different papers", "", "", spread


def _table(group: Sequence[Reported]) -> Table:
    """Methods by metrics, with each note once: first those of all cells, then those of single methods."""
    units = {entry.metric: entry.unit for entry in group}
    columns = [Column("Method", words=True)]
    columns += [Column(heading(metric) + (f" ({unit})" if unit else "")) for metric, unit in units.items()]
    cells: dict[str, dict[str, str]] = {}
    owners: dict[str, list[str]] = {}
    for entry in group:
        cells.setdefault(entry.method, {})[entry.metric] = entry.text or "not available"
        for note in filter(None, entry.note.split("; ")):
            owners.setdefault(note, []).append(entry.method)
    rows = [
        tuple(map(Cell, (method, *(own.get(metric, DASH) for metric in units))))
        for method, own in cells.items()
    ]
    notes = [
        f"{note}." if set(names) == cells.keys() else f"{', '.join(dict.fromkeys(names))}: {note}."
        for note, names in owners.items()
    ]
    return Table((Block("", tuple(columns), tuple(rows)),), tuple(notes))


def _same_method(found: Sequence[Reported]) -> Table:
    """PSNR of each method that several protocol classes report: the spread that a protocol alone makes."""
    lines = []
    for metric in ("views_psnr", "psnr"):
        by_method: dict[str, dict[str, str]] = {}
        for e in found:
            if e.metric == metric and e.value is not None and "GSO" in e.dataset:
                own = by_method.setdefault(e.method.split(" (")[0], {})  # without its variant
                # the first number of a class: tables put the main result before variants
                own.setdefault(e.protocol_class, f"{e.text} ({e.paper}, {e.table})")
        lines += [
            tuple(map(Cell, (method, heading(metric), " · ".join(own.values()))))
            for method, own in sorted(by_method.items())
            if len(own) > 1
        ]
    columns = (Column("Method", words=True), Column("Of", words=True), Column("dB", words=True))
    return Table((Block("", columns, tuple(lines)),))
