"""Published numbers: config/reported/*.csv, each with paper, table and how it was measured.

They stand beside ours only where the protocol's class is the same: InstantMesh alone has 18.1, 19.9, 22.8 and
23.2 dB on "GSO" in four papers. `results/reported.md` lists them all. A cell that nobody could read is a row
without a value and with the reason; a user who knows the number writes it there with its source.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.files import write_text
from aligncvc.paper.table_formats import DASH, Block, Cell, Column, Table, as_data, as_json, as_markdown

MEASURES = {
    "chamfer": "Chamfer ↓",
    "volume_iou": "Volume IoU ↑",
    "f_0.05": "F-score at 0.05 ↑",
    "f_0.1": "F-score at 0.1 ↑",
    "f_0.2": "F-score at 0.2 ↑",
    "f_0.5": "F-score at 0.5 ↑",
    "views_mse": "Views MSE ↓",
    "views_clip_s": "Views CLIP-S ↑",
    "gpu_gb": "GPU GB ↓",
    "user_consistency": "Users' consistency ↑",
    "user_quality": "Users' quality ↑",
}
"""Measures that papers report in a convention of their own, which the catalogue's metrics are not."""


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
    found: list[Reported] = []
    seen: dict[tuple[str, ...], str] = {}
    for path in paths:
        for number, row in enumerate(_rows(path), start=2):
            where = f"{path}, line {number}"
            entry = _parse(where, row)
            key = (entry.method, entry.metric, entry.dataset, entry.protocol_class, entry.paper, entry.table)
            if key in seen:
                raise UserError(f"{where} repeats {seen[key]} ({', '.join(key)}); keep one of them")
            seen[key] = where
            found.append(entry)
    return found


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a readable CSV of published numbers ({error}); correct it") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise UserError(f"{path} has not the columns of published numbers ({','.join(COLUMNS)}); correct it")
    return rows[1:]


def _parse(where: str, row: Sequence[str]) -> Reported:
    if len(row) != len(COLUMNS):
        raise UserError(
            f"{where} has {len(row)} cells instead of {len(COLUMNS)}; quote cells that hold commas"
        )
    entry = Reported(*(cell.strip() for cell in row))
    for name in _NEEDED:
        if not getattr(entry, name):
            raise UserError(f"{where} has no {name}; say where the number comes from")
    if entry.metric not in CATALOGUE and entry.metric not in MEASURES:
        known = ", ".join([*MEASURES, "a metric of python -m aligncvc.evaluate such as psnr or views_psnr"])
        raise UserError(f"{where} has the unknown metric {entry.metric!r}; use one of {known}")
    try:
        finite = entry.value is None or math.isfinite(entry.value)
    except ValueError:
        finite = False
    if not finite:
        raise UserError(
            f"{where} has the value {entry.text!r}, which is no number; leave it empty if unknown"
        )
    if entry.value is None and not entry.note:
        raise UserError(f"{where} has no value and no note; write the reason into the note")
    return entry


def heading(metric: str) -> str:
    """Of a column, with an arrow that says which way is better."""
    return CATALOGUE[metric].arrow if metric in CATALOGUE else MEASURES[metric]


def write_reported(paths: Sequence[Path], out: Path) -> int:
    """Write all published numbers as a Markdown page and, for the report, as .json beside it.

    Returns how many values there are. Raises UserError as read_reported.
    """
    found = read_reported(paths)
    sections = list(tables_by_paper(found))
    twin = [{"paper": p, "url": url, "title": title, **as_data(table)} for p, url, title, table in sections]
    write_text(out.with_suffix(".json"), as_json(twin))
    write_text(out, as_page(sections))
    return sum(entry.value is not None for entry in found)


def as_page(sections: Iterable[tuple[str, str, str, Table]]) -> str:
    """A section a paper, a table a table of that paper and protocol class, its notes below."""
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
    return "\n".join(parts)


def tables_by_paper(found: Sequence[Reported]) -> Iterator[tuple[str, str, str, Table]]:
    """(paper, address, title, table) of each table of a paper and protocol class; last the spread of PSNR."""
    order = {paper: i for i, paper in enumerate(dict.fromkeys(entry.paper for entry in found))}
    groups: dict[tuple[str, str, str], list[Reported]] = {}
    for entry in sorted(found, key=lambda entry: order[entry.paper]):
        groups.setdefault((entry.paper, entry.table, entry.protocol_class), []).append(entry)
    for (paper, table, kind), group in groups.items():
        yield paper, group[0].url, f"{table}: {group[0].dataset} (class {kind})", _table(group)
    spread = _same_method(found)
    if spread.blocks[0].rows:
        yield "The same method on GSO in different papers", "", "", spread


def _table(group: Sequence[Reported]) -> Table:
    """Methods by metrics, with each note once: first those of all cells, then those of single methods."""
    metrics = list(dict.fromkeys(entry.metric for entry in group))
    units = {entry.metric: entry.unit for entry in group}
    columns = [Column("Method", words=True)]
    columns += [Column(heading(m) + (f" ({units[m]})" if units[m] else "")) for m in metrics]
    rows = []
    for method in dict.fromkeys(entry.method for entry in group):
        cells = {entry.metric: entry.text or "not available" for entry in group if entry.method == method}
        rows.append((Cell(method), *(Cell(cells.get(m, DASH)) for m in metrics)))
    owners: dict[str, list[str]] = {}
    for entry in group:
        for note in filter(None, entry.note.split("; ")):
            owners.setdefault(note, []).append(entry.method)
    everyone = {entry.method for entry in group}
    notes = [
        note if set(names) == everyone else f"{', '.join(dict.fromkeys(names))}: {note}"
        for note, names in owners.items()
    ]
    return Table((Block("", tuple(columns), tuple(rows)),), tuple(f"{note}." for note in notes))


def _same_method(found: Sequence[Reported]) -> Table:
    """PSNR of each method that several protocol classes report: the spread that a protocol alone makes."""
    lines = []
    for metric in ("views_psnr", "psnr"):
        entries = [e for e in found if e.metric == metric and e.value is not None and "GSO" in e.dataset]
        for method in sorted({_base(e) for e in entries}):
            own = [e for e in entries if _base(e) == method]
            # the first number of a class: tables put the main result before variants
            by_class = {e.protocol_class: f"{e.text} ({e.paper}, {e.table})" for e in reversed(own)}
            if len(by_class) > 1:
                values = " · ".join(reversed(by_class.values()))
                lines.append((Cell(method), Cell(heading(metric)), Cell(values)))
    columns = (Column("Method", words=True), Column("Of", words=True), Column("dB", words=True))
    return Table((Block("", columns, tuple(lines)),))


def _base(entry: Reported) -> str:
    """The method's name without its variant in parentheses."""
    return entry.method.split(" (")[0]
