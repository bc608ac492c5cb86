"""How a table is laid out for people: blocks of columns by family, marks, notes that say what to trust."""

from __future__ import annotations

from collections.abc import Sequence

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, Family
from aligncvc.evaluate.stats import DRAWS, Interval
from aligncvc.paper.context import Context
from aligncvc.paper.reported import Reported
from aligncvc.paper.table_formats import DASH, Block, Cell, Column, Table
from aligncvc.paper.table_rows import NONE, NOT_AVAILABLE, Row, Rows, describe, number

DAGGER = "†"

BLOCKS: dict[str, tuple[Family, ...]] = {
    "Image quality": ("image",),
    "Geometry": ("geometry",),
    "Cross-view consistency": ("views", "consistency", "distribution"),
    "Cost": ("cost",),
}

CONTROL_NOTE = (
    "Controls are views of known consistency through the pretrained reconstructor: gt the true views, jitter "
    "the true views disturbed in colour and pose, shuffled views of different objects, copy the input at "
    "every pose."
)


def chosen(config: Config, found: Rows) -> list[str]:
    """The metrics of paper.columns. Raises UserError for a name that neither catalogue nor records know."""
    unknown = [
        n for n in config.paper.columns if n not in CATALOGUE and n not in found.metrics and "@" not in n
    ]
    if unknown:
        raise UserError(
            f"paper.columns names {unknown[0]!r}, which is no metric; choose from {', '.join(CATALOGUE)}"
        )
    return list(config.paper.columns)


def cell(metric: str, value: Interval, best: bool = False) -> Cell:
    """A number with its interval; n/a without a number."""
    mean, lo, hi = (number(metric, part) for part in value)
    return Cell(mean, best=best) if NOT_AVAILABLE in (lo, hi) else Cell(mean, lo, hi, best)


def method_columns(found: Rows) -> tuple[Column, ...]:
    """The columns of words and counts that open the first block."""
    ablation = (Column("Alignment", words=True),) if found.table == "table2" else ()
    return (Column("Method", words=True), *ablation, Column("Steps"), Column("Objects"))


def method_cells(found: Rows, row: Row) -> tuple[Cell, ...]:
    """The cells below `method_columns`; failures show as n of N."""
    ablation = (Cell(row.alignment or DASH),) if found.table == "table2" else ()
    steps = DASH if row.steps is None else str(row.steps)
    return (Cell(row.method), *ablation, Cell(steps), Cell(f"{row.objects} of {row.total}"))


def metric_blocks(config: Config, found: Rows, context: Context) -> list[Block]:
    """The chosen metrics in blocks by family, controls last; the first block says what each row is."""
    metrics = chosen(config, found)
    blocks: list[Block] = []
    for title, families in BLOCKS.items():
        names = [name for name in metrics if describe(name).family in families]
        if not names:
            continue
        # controls were not sampled, so most have no cost
        shown = [r for r in found.rows if title != "Cost" or not r.control or r.values.keys() & set(names)]
        head = method_columns(found) if not blocks else (Column("Method", words=True),)
        columns = tuple(Column(describe(n).arrow, mark=DAGGER if n in context.muted else "") for n in names)
        rows = tuple(
            (method_cells(found, row) if not blocks else (Cell(row.method),))
            + tuple(cell(n, row.values.get(n, NONE), n in row.best) for n in names)
            for row in shown
        )
        blocks.append(Block(title, (*head, *columns), rows, sum(row.control for row in shown)))
    return blocks


def comparison_block(found: Rows) -> Block | None:
    """Each row against the reference: paired difference with its interval, and objects it is better on."""
    if found.reference is None:
        return None
    columns = [Column("Method", words=True)]
    for name in found.compared:
        metric = describe(name)
        columns += [Column(f"{metric.arrow}, difference"), Column(f"{metric.heading}, better on")]
    rows = []
    for row in found.rows:
        if row.method == found.reference:
            continue
        cells = [Cell(row.method)]
        for name in found.compared:
            other = row.compared.get(name)
            if other is None or not other.wins.n:
                cells += [Cell(NOT_AVAILABLE)] * 2
                continue
            wins, ties, n = other.wins
            tied = f" ({ties} tied)" if ties else ""
            cells += [cell(name, other.difference), Cell(f"{wins} of {n}{tied}")]
        rows.append(tuple(cells))
    controls = sum(row.control for row in found.rows)
    return Block(f"Against {found.reference}, paired", tuple(columns), tuple(rows), controls)


def reported_block(config: Config, published: Sequence[Reported]) -> Block | None:
    """Published numbers of the same protocol class in the chosen metrics; None if there is none."""
    shown = [r for r in published if r.metric in config.paper.columns]
    if not shown:
        return None
    metrics = [name for name in config.paper.columns if any(r.metric == name for r in shown)]
    keys = dict.fromkeys((r.method, r.paper, r.table) for r in shown)
    rows = []
    for method, paper, table in keys:
        values = {r.metric: r.text for r in shown if (r.method, r.paper, r.table) == (method, paper, table)}
        cells = (Cell(values.get(name, DASH)) for name in metrics)
        rows.append((Cell(f"reported: {method}"), Cell(f"{paper}, {table}"), *cells))
    columns = (Column("Method", words=True), Column("Source", words=True))
    return Block("Reported in papers", (*columns, *(Column(describe(n).arrow) for n in metrics)), tuple(rows))


def lay_out(config: Config, found: Rows, context: Context) -> Table:
    """The whole table."""
    blocks = metric_blocks(config, found, context)
    more = [comparison_block(found), reported_block(config, context.published)]
    return Table((*blocks, *(block for block in more if block)), tuple(notes(config, found, context)))


def notes(config: Config, found: Rows, context: Context) -> list[str]:
    """What a reader has to know, one sentence or two each."""
    pairs = list(dict.fromkeys(row.pair for row in found.rows))
    shown = chosen(config, found)
    return [
        f"Pair: {'; '.join(pairs)}." + _protocol_words(context),
        "Numbers are means over objects of means over seeds, brackets their 95 % interval (bootstrap over "
        f"objects and seeds, {DRAWS} resamples). Objects: with a result, of all in the set.",
        *_bold_note(found, shown),
        *([CONTROL_NOTE] if any(row.control for row in found.rows) else []),
        *_floor_notes(found, shown),
        *_muted_note(context, shown),
        *_missing_notes(found, context, shown),
        _reported_note(config, context),
    ]


def _protocol_words(context: Context) -> str:
    name, sha = context.protocol.get("name"), context.protocol.get("hash")
    return f" Protocol: {name}-{sha}." if name and sha else ""


def _headings(names: Sequence[str]) -> str:
    return ", ".join(describe(name).heading for name in names)


def _bold_note(found: Rows, shown: Sequence[str]) -> list[str]:
    judged = [n for n in shown if describe(n).better and not describe(n).set_level]
    best = [n for n in judged if any(n in row.best for row in found.rows)]
    rest = [n for n in judged if n not in best and any(n in row.values for row in found.rows)]
    text = (
        "Bold: better than every other method (controls aside), the 95 % interval of each paired difference "
        "excluding zero, not corrected for their number."
    )
    if not best:
        return [f"{text} The intervals support no method as best in any column."]
    return [text + (f" The intervals support no method as best in: {_headings(rest)}." if rest else "")]


def _muted_note(context: Context, shown: Sequence[str]) -> list[str]:
    muted = [n for n in shown if n in context.muted]
    text = f"{DAGGER} does not discriminate GT > jittered > shuffled on this rig"
    return [f"{text}: {_headings(muted)}."] if muted else []


def _floor_notes(found: Rows, shown: Sequence[str]) -> list[str]:
    """What distances between distributions come to without any method, where that was measured."""
    lines = []
    for kind in ("frechet", "kernel"):
        floor = next((v for row in found.rows if (v := row.values.get(f"{kind}_lite0_floor"))), None)
        if floor is not None and any(name.startswith(f"{kind}_lite0_") for name in shown):
            value = number(f"{kind}_lite0_floor", floor.mean)
            heading = describe(f"{kind}_lite0_floor").heading
            lines.append(f"{heading}, true views to true views at other poses: {value}; less says nothing.")
    return lines


def _missing_notes(found: Rows, context: Context, shown: Sequence[str]) -> list[str]:
    """Why cells say n/a: the protocol's reason where no row has the metric, else which rows lack one."""
    absent = [n for n in shown if not any(n in row.values for row in found.rows)]
    reasons: dict[str, list[str]] = {}
    for name in absent:
        reasons.setdefault(context.reasons.get(name, "n/a (not measured by this protocol)"), []).append(name)
    lines = [f"{_headings(names)}: {reason}." for reason, names in reasons.items()]
    empty = [row.method for row in found.rows if not row.values]
    if empty:
        lines.append(f"No records: {', '.join(empty)}.")
    if any(n not in row.values for row in found.rows for n in shown if row.values and n not in absent):
        lines.append("Other cells that say n/a have no value for that row (a control was not sampled, say).")
    return lines


def _reported_note(config: Config, context: Context) -> str:
    """Which published numbers stand in the table, or why none does."""
    if reported_block(config, context.published):
        return f"Published numbers were measured by protocols of the same class ({context.protocol_class})."
    if not context.reported:
        return "No published number stands beside these: none was given."
    kind = context.protocol_class or "unknown"
    return (
        f"No published number stands beside these: none was measured by a protocol of this class ({kind}); "
        "objects, framing and resolution move PSNR by more than methods differ. reported.md lists them all."
    )
