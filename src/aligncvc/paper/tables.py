"""Tables of the paper: a row a method, as CSV (all numbers) and Markdown, LaTeX and JSON twins (a choice).

`table_rows` makes the numbers, `table_blocks` lays them out for people, `table_formats` writes them down.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from aligncvc.config import Config
from aligncvc.evaluate.records import concat
from aligncvc.evaluate.stats import WinRate
from aligncvc.files import write_text
from aligncvc.paper.context import read_context
from aligncvc.paper.table_blocks import lay_out
from aligncvc.paper.table_formats import Table, as_json, as_latex, as_markdown
from aligncvc.paper.table_rows import LEADING, NONE, Comparison, Row, Rows, build_rows, number


def csv_cells(found: Rows, row: Row) -> dict[str, str]:
    """One line of the CSV by column."""
    cells = {
        "method": row.method,
        "pair": row.pair,
        "steps": "" if row.steps is None else str(row.steps),
        "objects": str(row.objects),
    }
    metrics = [*LEADING, *(name for name in found.metrics if name not in LEADING)]
    values = {name: row.values.get(name, NONE) for name in metrics}
    cells |= {name: number(name, values[name].mean) for name in LEADING}
    cells |= {
        "alignment": row.alignment,
        "objects_total": str(row.total),
        "seeds": str(row.seeds),
        "failed": str(row.failed),
        "best": ";".join(name for name in metrics if name in row.best),
    }
    for name in metrics:
        mean, lo, hi = (number(name, value) for value in values[name])
        cells |= {name: mean, f"{name}_lo": lo, f"{name}_hi": hi}
    for name in found.compared:
        other = row.compared.get(name, Comparison(NONE, WinRate(0, 0, 0)))
        mean, lo, hi = (number(name, value) for value in other.difference)
        cells |= {f"{name}_vs_reference": mean, f"{name}_vs_reference_lo": lo, f"{name}_vs_reference_hi": hi}
        counts = zip(("wins", "ties", "pairs"), other.wins, strict=True)
        cells |= {f"{name}_{what}": str(count) if name in row.compared else "" for what, count in counts}
    return cells | {"reference": found.reference or ""}


def as_csv(lines: Sequence[Mapping[str, str]]) -> str:
    """Comma-separated text with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def write_table(
    config: Config,
    table: str,
    metrics: Sequence[Path],
    out: Path,
    discrimination: Path | None = None,
    reported: Sequence[Path] = (),
) -> Rows:
    """Write `out` (CSV) and its .md, .tex and .json twins; the CSV comes last.

    metrics: CSVs of records; discrimination: which metrics tell controls apart; reported: CSVs of published
    numbers. Raises UserError for files that are unreadable or measured by different protocols, and as
    build_rows.
    """
    found = build_rows(config, table, concat(metrics))
    laid = lay_out(config, found, read_context(metrics, discrimination, reported))
    write_twins(out, laid, [csv_cells(found, row) for row in found.rows])
    return found


def twins(out: Path) -> list[Path]:
    """What lies beside a table's CSV: Markdown, LaTeX, JSON."""
    return [out.with_suffix(suffix) for suffix in (".md", ".tex", ".json")]


def write_twins(out: Path, laid: Table, lines: Sequence[Mapping[str, str]]) -> None:
    """Write the .md, .tex and .json beside `out`, and last `out`, the CSV of `lines`."""
    write_text(out.with_suffix(".md"), as_markdown(laid))
    write_text(out.with_suffix(".tex"), as_latex(laid))
    write_text(out.with_suffix(".json"), as_json(laid))
    write_text(out, as_csv(lines))
