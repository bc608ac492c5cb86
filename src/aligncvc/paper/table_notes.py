"""The sentences below a table: what the numbers are, what is bold, what is missing and why."""

from __future__ import annotations

from collections.abc import Sequence

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.evaluate.stats import DRAWS
from aligncvc.paper.protocol_facts import ProtocolFacts
from aligncvc.paper.table_blocks import DAGGER, reported_block, shown_metrics
from aligncvc.paper.table_rows import TableRows, describe, number

CONTROL_NOTE = (
    "Controls are views of known consistency through the pretrained reconstructor: gt the true views, jitter "
    "the true views disturbed in colour and pose, shuffled views of different objects, copy the input at "
    "every pose."
)


def notes(job: PaperJob, table: TableRows, facts: ProtocolFacts) -> list[str]:
    """What a reader has to know, one sentence or two each."""
    shown = shown_metrics(job, table)
    return [
        f"Pair{'s' * (len(table.pairs) > 1)}: {'; '.join(table.pairs)}." + _protocol_words(facts),
        "Numbers are means over objects of means over seeds, brackets their 95 % interval (bootstrap over "
        f"objects and seeds, {DRAWS} resamples). Objects: with a result, of all in the set.",
        _bold_note(table, shown),
        *([CONTROL_NOTE] if table.controls else []),
        *_floor_notes(table, shown),
        *_muted_note(facts, shown),
        *_missing_notes(table, facts, shown),
        _reported_note(job, facts),
    ]


def _protocol_words(facts: ProtocolFacts) -> str:
    name, sha = facts.protocol.get("name"), facts.protocol.get("hash")
    return f" Protocol: {name}-{sha}." if name and sha else ""


def _headings(names: Sequence[str]) -> str:
    return ", ".join(describe(name).heading for name in names)


def _bold_note(table: TableRows, shown: Sequence[str]) -> str:
    judged = [n for n in shown if describe(n).better and not describe(n).set_level]
    best = [n for n in judged if any(n in row.best for row in table.rows)]
    rest = [n for n in judged if n not in best and any(n in row.values for row in table.rows)]
    text = (
        "Bold: better than every other method (controls aside), the 95 % interval of each paired difference "
        "excluding zero, not corrected for their number."
    )
    if not best:
        return f"{text} The intervals support no method as best in any column."
    return text + (f" The intervals support no method as best in: {_headings(rest)}." if rest else "")


def _muted_note(facts: ProtocolFacts, shown: Sequence[str]) -> list[str]:
    muted = [n for n in shown if n in facts.muted]
    text = f"{DAGGER} does not discriminate GT > jittered > shuffled on this rig"
    return [f"{text}: {_headings(muted)}."] if muted else []


def _floor_notes(table: TableRows, shown: Sequence[str]) -> list[str]:
    """What distances between distributions come to without any method, where that was measured."""
    lines = []
    for kind in ("frechet", "kernel"):
        floor = next((v for row in table.rows if (v := row.values.get(f"{kind}_lite0_floor"))), None)
        if floor is not None and any(name.startswith(f"{kind}_lite0_") for name in shown):
            value = number(f"{kind}_lite0_floor", floor.mean)
            heading = describe(f"{kind}_lite0_floor").heading
            lines.append(f"{heading}, true views to true views at other poses: {value}; less says nothing.")
    return lines


def _missing_notes(table: TableRows, facts: ProtocolFacts, shown: Sequence[str]) -> list[str]:
    """Why cells say n/a: the protocol's reason where no row has the metric, else which rows lack one."""
    absent = [n for n in shown if not any(n in row.values for row in table.rows)]
    reasons: dict[str, list[str]] = {}
    for name in absent:
        reasons.setdefault(facts.reasons.get(name, "n/a (not measured by this protocol)"), []).append(name)
    lines = [f"{_headings(names)}: {reason}." for reason, names in reasons.items()]
    empty = [
        row.key.method + (f" of {row.key.pair}" if len(table.pairs) > 1 and not row.key.control else "")
        for row in table.rows
        if not row.values
    ]
    if empty:
        lines.append(f"No records: {', '.join(empty)}.")
    if any(n not in row.values for row in table.rows for n in shown if row.values and n not in absent):
        lines.append("Other cells that say n/a have no value for that row (a control was not sampled, say).")
    return lines


def _reported_note(job: PaperJob, facts: ProtocolFacts) -> str:
    """Which published numbers stand in the table, or why none does."""
    if reported_block(job, facts.published):
        return f"Published numbers were measured by protocols of the same class ({facts.protocol_class})."
    if not facts.reported:
        return "No published number stands beside these: none was given."
    kind = facts.protocol_class or "unknown"
    return (
        f"No published number stands beside these: none was measured by a protocol of this class ({kind}); "
        "objects, framing and resolution move PSNR by more than methods differ. reported.md lists them all."
    )
