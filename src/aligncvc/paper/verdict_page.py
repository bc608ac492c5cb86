"""docs/verdict/README.md: one line for each claim and goal, tables and pictures, as GitHub shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aligncvc.paper.table_formats import markdown
from aligncvc.paper.table_rows import describe
from aligncvc.paper.verdict_claims import CLAIMS, CONTROLS, GOALS, TITLES
from aligncvc.paper.verdict_rules import Line, outcome

WORDS = {True: "holds", False: "**does not hold**", None: "n/a"}


def page(
    about: Mapping[str, Any],
    lines: Sequence[Line],
    tables: Mapping[str, str],
    pictures: Sequence[tuple[str, str, str]],
    notes: Mapping[str, str],
) -> str:
    """The page. tables: Markdown by name; pictures: (file, caption, alt); notes: explanations by claim."""
    groups = {key: [line for line in lines if line.claim == key] for key in TITLES}
    parts = [
        "# The verdict",
        "Does AlignCVC (arXiv 2506.23150) do what it says? Measured with the demo's small pair, which was "
        "trained and aligned on furniture, on objects that no network has seen. Written by "
        "`python -m aligncvc.paper.verdict`; whether a line holds is decided by a rule in the code "
        "([verdict_rules.py](../../src/aligncvc/paper/verdict_rules.py)), never by hand. "
        "How it is made: [docs/verdict.md](../verdict.md).",
        _about(about),
        "## In short",
        _summary(groups, [*CLAIMS, *GOALS, *CONTROLS]),
        "Effects are mean differences (first minus second), paired over objects and seeds; brackets hold the "
        "95 % interval (hierarchical bootstrap, not corrected for the number of lines), and the whole "
        "interval has to satisfy the rule. Lines in *italics* are context: the claim does not hang on them.",
    ]
    for heading, keys in (("## Claims", CLAIMS), ("## Goals", GOALS), ("## Controls", CONTROLS)):
        parts.append(heading)
        for key in keys:
            parts += _section(key, groups[key], notes.get(key, ""))
    if about.get("memory"):
        parts += ["Peak memory of one training step:", _memory(about["memory"])]
    parts.append("## Pictures")
    parts += [f"![{markdown(alt)}]({file})\n\n{markdown(caption)}" for file, caption, alt in pictures]
    parts.append("## Tables")
    parts += [f"### {name}\n\n[{name}.csv]({name}.csv)\n\n{text.strip()}" for name, text in tables.items()]
    return "\n\n".join(parts) + "\n"


def _about(about: Mapping[str, Any]) -> str:
    rows = {
        "Pair": about["pair"],
        "Objects, seeds": f"{about['objects']} held out, seeds {', '.join(map(str, about['seeds']))}",
        "Protocol": f"`{about['protocol']}`",
        "Commit": f"`{about['commit']}`",
        "Sampled on": "; ".join(about["hardware"]),
        "Records of": about["date"],
    }
    text = "".join(
        f"| {key} | {markdown(value) if '`' not in value else value} |\n" for key, value in rows.items()
    )
    runs = about.get("runs", [])
    head = "\n| Alignment run | Steps | Seconds |\n| --- | ---: | ---: |\n" if runs else ""
    body = "".join(f"| {r['run']} | {r['steps']} | {r['seconds']:.0f} |\n" for r in runs)
    return f"| | |\n| --- | --- |\n{text}{head}{body}".rstrip()


def _summary(groups: Mapping[str, Sequence[Line]], keys: Sequence[str]) -> str:
    rows = ["| | | | Lines that hold |", "| --- | --- | --- | ---: |"]
    for key in keys:
        main = [line for line in groups[key] if line.main]
        held = sum(line.holds is True for line in main)
        name = f"({key})" if key in CLAIMS else "goal" if key in GOALS else "control"
        rows.append(f"| {name} | {TITLES[key]} | {WORDS[outcome(groups[key])]} | {held} of {len(main)} |")
    return "\n".join(rows)


def _section(key: str, lines: Sequence[Line], note: str) -> list[str]:
    title = f"### ({key}) {TITLES[key]}" if key in CLAIMS else f"### {TITLES[key]}"
    rows = ["| | Effect | Objects | Rule | |", "| --- | ---: | ---: | --- | --- |"]
    for line in lines:
        text = markdown(line.statement)
        text = text if line.main else f"*{text}*"
        verdict = WORDS[line.holds] if line.holds is not None or not line.note else ""
        remark = "; ".join(filter(None, [verdict, markdown(line.note)]))
        count = str(line.n) if line.n else ""
        rows.append(f"| {text} | {effect(line)} | {count} | {line.rule} | {remark} |")
    if not lines:
        return [title, "No line."]
    return [f"{title}: {WORDS[outcome(lines)]}", "\n".join(rows), *([note.strip()] if note else [])]


def effect(line: Line) -> str:
    """The effect with its interval and unit, with the metric's digits."""
    if math.isnan(line.effect.mean):
        return "n/a"
    if line.metric == "all":
        return f"{line.effect.mean:g}"
    digits = 1 if line.unit == "MB" else 2 if line.unit in ("dB", "times") else describe(line.metric).decimals
    sign = "" if line.unit == "times" else "+"
    mean, lo, hi = (f"{value:{sign}.{digits}f}" for value in line.effect)
    bracket = "" if math.isnan(line.effect.lo) else f" [{lo}, {hi}]"
    return f"{mean}{bracket} {line.unit}".strip()


def _memory(rows: Sequence[Mapping[str, str]]) -> str:
    head = "| Trained | Peak MB | Weights MB | Hardware |\n| --- | ---: | ---: | --- |\n"
    return head + "\n".join(
        f"| {r['variant']} | {r['peak_mb']} | {r['weights_mb']} | {markdown(r['hardware'])} |" for r in rows
    )
