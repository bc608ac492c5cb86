"""How a table is laid out for people: blocks of columns by family, comparisons, published numbers, notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, Family
from aligncvc.evaluate.records import protocol_beside
from aligncvc.evaluate.stats import DRAWS, NONE, Interval
from aligncvc.paper.reading import TEMPLATES, read_rankings
from aligncvc.paper.reported import Reported, read_reported
from aligncvc.paper.table_formats import DASH, Block, Cell, Column, Table
from aligncvc.paper.table_rows import NOT_AVAILABLE, TableRow, TableRows, describe, number
from aligncvc.viewer.templating import render_template

DAGGER = "†"

BLOCKS: dict[str, tuple[Family, ...]] = {
    "Image quality": ("image",),
    "Geometry": ("geometry",),
    "Cross-view consistency": ("views", "consistency", "distribution"),
    "Cost": ("cost",),
}


# --- what stands beside the records ----------------------------------------------------------------------


@dataclass(frozen=True)
class ProtocolFacts:
    """protocol: as written beside the records, empty if it is not there. reasons: "n/a (...)" by metric.

    muted: metrics that do not rank the controls. reported: every published number that is known.
    """

    protocol: Mapping[str, Any]
    reasons: Mapping[str, str]
    muted: frozenset[str] = frozenset()
    reported: tuple[Reported, ...] = ()

    @property
    def protocol_class(self) -> str:
        """Class of the protocol; published numbers of the same class may stand beside ours."""
        return str(self.protocol.get("protocol_class", ""))


def read_facts(
    metrics: Sequence[Path], discrimination: Path | None = None, reported: Sequence[Path] = ()
) -> ProtocolFacts:
    """Read the protocols beside the CSVs of records, discrimination.csv and the published numbers.

    A protocol that is not there is left out (records can be aggregated without); the other files must be
    readable, or UserError is raised.
    """
    protocols = [p for p in map(protocol_beside, metrics) if p]
    reasons = {name: text for protocol in protocols for name, text in _not_available(protocol)}
    for protocol in protocols:
        missing = protocol.get("unavailable")
        for name, why in missing.items() if isinstance(missing, dict) else ():
            reasons.setdefault(str(name), f"n/a ({why})")
    muted = frozenset(name for name, verdict in read_rankings(discrimination).items() if verdict == "no")
    return ProtocolFacts(protocols[0] if protocols else {}, reasons, muted, tuple(read_reported(reported)))


def _not_available(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every "n/a (reason)" in a protocol with the key that it stands under, which is a metric's name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_available(inner, str(key))
    elif isinstance(value, str) and value.startswith("n/a"):
        yield name, value


# --- blocks ----------------------------------------------------------------------------------------------


Made = tuple[Column, Callable[[TableRow], Cell]]
"""A column, and what makes its cell of a row."""

STEPS: Made = Column("Steps"), lambda row: Cell(DASH if row.steps is None else str(row.steps))
OBJECTS: Made = Column("Objects"), lambda row: Cell(f"{row.objects} of {row.total}")  # which shows failures
ALIGNMENT: Made = Column("Alignment", words=True), lambda row: Cell(row.alignment or DASH)


def lay_out(job: PaperJob, table: TableRows, facts: ProtocolFacts) -> Table:
    """The whole table. Raises UserError for a column that neither catalogue nor records know."""
    shown = list(job.paper.columns)
    known = {*CATALOGUE, *table.metrics}
    if unknown := [name for name in shown if name not in known and "@" not in name]:
        raise UserError(
            f"paper.columns names {unknown[0]!r}, which is no metric; choose from {', '.join(CATALOGUE)}"
        )
    published = reported_block(shown, facts)
    blocks = (*metric_blocks(table, shown, facts), comparison_block(table), published)
    return Table(tuple(filter(None, blocks)), tuple(notes(table, shown, facts, published is not None)))


def block_of(table: TableRows, title: str, rows: Sequence[TableRow], columns: Iterable[Made]) -> Block:
    """These rows under method, pair (where there are several; controls belong to none) and these columns."""
    pair = Column("Pair", words=True), lambda row: Cell(DASH if row.key.control else row.key.pair)
    method = Column("Method", words=True), lambda row: Cell(row.key.method)
    made: list[Made] = [method, *[pair] * (len(table.pairs) > 1), *columns]
    lines = tuple(tuple(make(row) for _, make in made) for row in rows)
    return Block(title, tuple(column for column, _ in made), lines, sum(row.key.control for row in rows))


def cell(metric: str, value: Interval, best: bool = False) -> Cell:
    """A number with its interval; n/a without a number."""
    text, lo, hi = (number(metric, part) for part in value)
    return Cell(text, best=best) if NOT_AVAILABLE in (lo, hi) else Cell(text, lo, hi, best)


def metric_column(name: str, mark: str = "") -> Made:
    """A metric's numbers, the best of them bold."""
    column = Column(describe(name).arrow, mark=mark)
    return column, lambda row: cell(name, row.values.get(name, NONE), name in row.best)


def metric_blocks(table: TableRows, shown: Sequence[str], facts: ProtocolFacts) -> list[Block]:
    """The chosen metrics in blocks by family, controls last; the first block says what each row is."""
    blocks: list[Block] = []
    for title, families in BLOCKS.items():
        names = [name for name in shown if describe(name).family in families]
        if not names:
            continue
        # controls were not sampled, so most have no cost
        rows = [r for r in table.rows if title != "Cost" or not r.key.control or r.values.keys() & set(names)]
        about = [] if blocks else [*[ALIGNMENT] * (table.table == "table2"), STEPS, OBJECTS]
        numbers = [metric_column(name, DAGGER * (name in facts.muted)) for name in names]
        blocks.append(block_of(table, title, rows, [*about, *numbers]))
    return blocks


def comparison_columns(name: str) -> tuple[Made, Made]:
    """Paired difference with its interval, and objects that a row is better on."""

    def difference(row: TableRow) -> Cell:
        other = row.against(name)
        return cell(name, other.difference) if other.wins.n else Cell(NOT_AVAILABLE)

    def wins(row: TableRow) -> Cell:
        wins, ties, n = row.against(name).wins
        tied = f" ({ties} tied)" if ties else ""
        return Cell(f"{wins} of {n}{tied}" if n else NOT_AVAILABLE)

    metric = describe(name)
    return (
        (Column(f"{metric.arrow}, difference"), difference),
        (Column(f"{metric.heading}, better on"), wins),
    )


def comparison_block(table: TableRows) -> Block | None:
    """Each row against its reference; None if there is no reference."""
    references = dict.fromkeys(row.reference for row in table.rows if row.reference is not None)
    if not references:
        return None
    rows = [row for row in table.rows if row.key not in references]
    if len(references) > 1:  # what belongs to no pair has nothing to stand against
        rows = [row for row in rows if row.reference is not None]
    methods = dict.fromkeys(key.method for key in references)
    title = f"Against {' or '.join(methods)}{' of the same pair' * (len(references) > 1)}, paired"
    columns = [column for name in table.compared for column in comparison_columns(name)]
    return block_of(table, title, rows, columns)


def reported_block(shown: Sequence[str], facts: ProtocolFacts) -> Block | None:
    """Published numbers of the same protocol class in the chosen metrics; None if there is none."""
    kind, rows = facts.protocol_class, dict[tuple[str, str, str], dict[str, str]]()
    for r in facts.reported:
        if kind and r.protocol_class == kind and r.value is not None and r.metric in shown:
            rows.setdefault((r.method, r.paper, r.table), {})[r.metric] = r.text
    if not rows:
        return None
    metrics = [name for name in shown if any(name in texts for texts in rows.values())]
    lines = [
        tuple(map(Cell, (f"reported: {method}", f"{paper}, {table}", *(texts.get(n, DASH) for n in metrics))))
        for (method, paper, table), texts in rows.items()
    ]
    columns = (Column("Method", words=True), Column("Source", words=True))
    headings = (Column(describe(name).arrow) for name in metrics)
    return Block("Reported in papers", (*columns, *headings), tuple(lines))


# --- notes -----------------------------------------------------------------------------------------------


def notes(table: TableRows, shown: Sequence[str], facts: ProtocolFacts, published: bool) -> list[str]:
    """What a reader has to know, one sentence or two each: what the numbers are, what is missing and why.

    published: whether published numbers stand in the table.
    """
    best = {name for row in table.rows for name in row.best}
    measured = {name for row in table.rows for name in row.values}
    judged = [n for n in shown if describe(n).better and not describe(n).set_level]
    floors: dict[str, str] = {}  # what distances between distributions come to without any method
    for kind in ("frechet_lite0_", "kernel_lite0_", "frechet_lite2_", "kernel_lite2_"):
        name = f"{kind}floor"
        if name in measured and any(other.startswith(kind) for other in shown):
            floor = next(row.values[name] for row in table.rows if name in row.values)
            floors[name] = number(name, floor.centre)
    reasons: dict[str, list[str]] = {}
    for name in shown:
        if name not in measured:
            reason = facts.reasons.get(name, "n/a (not measured by this protocol)")
            reasons.setdefault(reason, []).append(name)
    text = render_template(
        "table_notes.txt",
        folder=TEMPLATES,
        table=table,
        facts=facts,
        protocol=facts.protocol,
        published=published,
        draws=DRAWS,
        dagger=DAGGER,
        best=best & set(judged),
        rest=[n for n in judged if n in measured - best],
        floors=floors,
        muted=[n for n in shown if n in facts.muted],
        reasons=reasons,
        empty=[row.key for row in table.rows if not row.values],
        gaps=any(set(shown) & measured - row.values.keys() for row in table.rows if row.values),
        headings=lambda names: ", ".join(describe(name).heading for name in names),
    )
    return text.removesuffix("\n").split("\n")
