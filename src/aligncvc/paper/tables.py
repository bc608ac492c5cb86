"""Tables of the paper: a row a method, as CSV (all numbers) and Markdown, LaTeX and JSON twins (a choice).

`table_rows` makes the numbers, `table_blocks` and `table_notes` lay them out for people, `table_formats`
writes them down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.evaluate.scores import Scores
from aligncvc.evaluate.stats import NONE, Interval
from aligncvc.paper.protocol_facts import ProtocolFacts, read_facts
from aligncvc.paper.table_blocks import comparison_block, metric_blocks, reported_block
from aligncvc.paper.table_formats import Table, write_table_files
from aligncvc.paper.table_notes import notes
from aligncvc.paper.table_rows import Comparison, TableRow, TableRows, build_rows, number

LEADING = ("psnr", "ssim", "lpips", "residual_psnr", "seconds", "peak_mb")
"""Metrics whose means come first in a CSV, for scripts that count columns."""


def lay_out(job: PaperJob, table: TableRows, facts: ProtocolFacts) -> Table:
    """The whole table."""
    more = [comparison_block(table), reported_block(job, facts.published)]
    blocks = (*metric_blocks(job, table, facts), *(block for block in more if block))
    return Table(blocks, tuple(notes(job, table, facts)))


def key_texts(row: TableRow) -> dict[str, str]:
    """The columns that open every CSV."""
    steps = "" if row.steps is None else str(row.steps)
    return {"method": row.key.method, "pair": row.key.pair, "steps": steps, "objects": str(row.objects)}


def interval_texts(values: Mapping[str, Interval], names: Iterable[str]) -> dict[str, str]:
    """Three columns a metric: its mean and the ends of its interval."""
    return {
        name + end: number(name, part)
        for name in names
        for end, part in zip(("", "_lo", "_hi"), values.get(name, NONE), strict=True)
    }


def csv_line(table: TableRows, row: TableRow) -> dict[str, str]:
    """One line of the CSV by column."""
    metrics = [*LEADING, *(name for name in table.metrics if name not in LEADING)]
    line = key_texts(row) | {name: number(name, row.values.get(name, NONE).mean) for name in LEADING}
    line |= {
        "alignment": row.alignment,
        "objects_total": str(row.total),
        "seeds": str(row.seeds),
        "failed": str(row.failed),
        "best": ";".join(name for name in metrics if name in row.best),
    }
    line |= interval_texts(row.values, metrics)
    for name in table.compared:
        other = row.compared.get(name, Comparison())
        ends = zip(("", "_lo", "_hi"), other.difference, strict=True)
        line |= {f"{name}_vs_reference{end}": number(name, part) for end, part in ends}
        counts = zip(("wins", "ties", "pairs"), other.wins, strict=True)
        line |= {f"{name}_{what}": str(count) if name in row.compared else "" for what, count in counts}
    return line | {"reference": row.reference.method if row.reference else ""}


def write_table(
    job: PaperJob,
    table: str,
    metrics: Sequence[Path],
    out: Path,
    discrimination: Path | None = None,
    reported: Sequence[Path] = (),
) -> TableRows:
    """Write `out` (CSV) and its .md, .tex and .json twins; the CSV comes last.

    Args:
        job: Rows, pairs, columns.
        table: table1 or table2.
        metrics: CSVs of records.
        out: CSV to write.
        discrimination: Which metrics tell controls apart.
        reported: CSVs of published numbers.

    Raises UserError for files that are unreadable or measured by different protocols, and as build_rows.
    """
    table_rows = build_rows(job, table, Scores.read(metrics, job.seed))
    facts = read_facts(metrics, discrimination, reported)
    lines = [csv_line(table_rows, row) for row in table_rows.rows]
    write_table_files(out, lay_out(job, table_rows, facts), lines)
    return table_rows
