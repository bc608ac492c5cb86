"""How a table is laid out for people: blocks of columns by family, comparisons, published numbers."""

from __future__ import annotations

from collections.abc import Sequence

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, Family
from aligncvc.evaluate.scores import Key
from aligncvc.evaluate.stats import NONE, Interval
from aligncvc.paper.protocol_facts import ProtocolFacts
from aligncvc.paper.reported import Reported
from aligncvc.paper.table_formats import DASH, Block, Cell, Column
from aligncvc.paper.table_rows import NOT_AVAILABLE, TableRow, TableRows, describe, number

DAGGER = "†"

BLOCKS: dict[str, tuple[Family, ...]] = {
    "Image quality": ("image",),
    "Geometry": ("geometry",),
    "Cross-view consistency": ("views", "consistency", "distribution"),
    "Cost": ("cost",),
}


def shown_metrics(job: PaperJob, table: TableRows) -> list[str]:
    """The metrics of paper.columns. Raises UserError for a name that neither catalogue nor records know."""
    known = {*CATALOGUE, *table.metrics}
    unknown = [name for name in job.paper.columns if name not in known and "@" not in name]
    if unknown:
        raise UserError(
            f"paper.columns names {unknown[0]!r}, which is no metric; choose from {', '.join(CATALOGUE)}"
        )
    return list(job.paper.columns)


def cell(metric: str, value: Interval, best: bool = False) -> Cell:
    """A number with its interval; n/a without a number."""
    mean, lo, hi = (number(metric, part) for part in value)
    return Cell(mean, best=best) if NOT_AVAILABLE in (lo, hi) else Cell(mean, lo, hi, best)


def key_columns(table: TableRows) -> tuple[Column, ...]:
    """Method, and the pair where there are several."""
    return (Column("Method", words=True), *[Column("Pair", words=True)] * (len(table.pairs) > 1))


def key_cells(table: TableRows, key: Key) -> tuple[Cell, ...]:
    """The cells below `key_columns`; controls belong to no pair."""
    return (Cell(key.method), *[Cell(DASH if key.control else key.pair)] * (len(table.pairs) > 1))


def steps_cell(row: TableRow) -> Cell:
    return Cell(DASH if row.steps is None else str(row.steps))


def metric_blocks(job: PaperJob, table: TableRows, facts: ProtocolFacts) -> list[Block]:
    """The chosen metrics in blocks by family, controls last; the first block says what each row is."""
    metrics = shown_metrics(job, table)
    ablation = table.table == "table2"
    blocks: list[Block] = []
    for title, families in BLOCKS.items():
        names = [name for name in metrics if describe(name).family in families]
        if not names:
            continue
        # controls were not sampled, so most have no cost
        rows = [r for r in table.rows if title != "Cost" or not r.key.control or r.values.keys() & set(names)]
        about: list[Column] = []
        if not blocks:
            about = [*[Column("Alignment", words=True)] * ablation, Column("Steps"), Column("Objects")]
        columns = [Column(describe(n).arrow, mark=DAGGER if n in facts.muted else "") for n in names]
        lines = []
        for row in rows:
            said = [*[Cell(row.alignment or DASH)] * ablation, steps_cell(row), _objects_cell(row)]
            numbers = (cell(n, row.values.get(n, NONE), n in row.best) for n in names)
            lines.append((*key_cells(table, row.key), *(said if about else ()), *numbers))
        controls = sum(row.key.control for row in rows)
        blocks.append(Block(title, (*key_columns(table), *about, *columns), tuple(lines), controls))
    return blocks


def _objects_cell(row: TableRow) -> Cell:
    """Failures show as n of N."""
    return Cell(f"{row.objects} of {row.total}")


def comparison_block(table: TableRows) -> Block | None:
    """Each row against its reference: paired difference with its interval, and objects it is better on."""
    references = dict.fromkeys(row.reference for row in table.rows if row.reference is not None)
    if not references:
        return None
    columns = list(key_columns(table))
    for name in table.compared:
        metric = describe(name)
        columns += [Column(f"{metric.arrow}, difference"), Column(f"{metric.heading}, better on")]
    rows = [row for row in table.rows if row.key not in references]
    if len(references) > 1:  # what belongs to no pair has nothing to stand against
        rows = [row for row in rows if row.reference is not None]
    lines = []
    for row in rows:
        cells = list(key_cells(table, row.key))
        for name in table.compared:
            other = row.compared.get(name)
            if other is None or not other.wins.n:
                cells += [Cell(NOT_AVAILABLE)] * 2
                continue
            wins, ties, n = other.wins
            tied = f" ({ties} tied)" if ties else ""
            cells += [cell(name, other.difference), Cell(f"{wins} of {n}{tied}")]
        lines.append(tuple(cells))
    methods = dict.fromkeys(key.method for key in references)
    title = f"Against {' or '.join(methods)}{' of the same pair' * (len(references) > 1)}, paired"
    return Block(title, tuple(columns), tuple(lines), sum(row.key.control for row in rows))


def reported_block(job: PaperJob, published: Sequence[Reported]) -> Block | None:
    """Published numbers of the same protocol class in the chosen metrics; None if there is none."""
    shown = [r for r in published if r.metric in job.paper.columns]
    if not shown:
        return None
    metrics = [name for name in job.paper.columns if any(r.metric == name for r in shown)]
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for entry in shown:
        rows.setdefault((entry.method, entry.paper, entry.table), {})[entry.metric] = entry.text
    lines = [
        (
            Cell(f"reported: {method}"),
            Cell(f"{paper}, {table}"),
            *(Cell(texts.get(name, DASH)) for name in metrics),
        )
        for (method, paper, table), texts in rows.items()
    ]
    columns = (Column("Method", words=True), Column("Source", words=True))
    headings = (Column(describe(name).arrow) for name in metrics)
    return Block("Reported in papers", (*columns, *headings), tuple(lines))
