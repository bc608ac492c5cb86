"""The verdict's README.md: one line for each claim and goal, tables and pictures, as GitHub shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aligncvc.paper.claims import Claims, described
from aligncvc.paper.table_formats import markdown
from aligncvc.paper.verdict_rules import Judged, outcome

WORDS = {True: "holds", False: "**does not hold**", None: "n/a"}
HEADINGS = {"claims": "## Claims", "goals": "## Goals", "controls": "## Controls"}
SHORT = {"goals": "goal", "controls": "control"}
"""What the summary calls a line; a claim has its letter."""


def page(
    claims: Claims,
    about: Mapping[str, Any],
    judged: Sequence[Judged],
    tables: Mapping[str, str],
    pictures: Sequence[tuple[str, str, str]],
    notes: Mapping[str, str],
) -> str:
    """The page. tables: Markdown by name; pictures: (file, caption, alt); notes: explanations by claim."""
    groups = {key: [one for one in judged if one.line.claim == key] for key in claims.claims}
    parts = [
        "# The verdict",
        "Does AlignCVC (arXiv 2506.23150) do what it says? Measured with the demo's small pair, which was "
        "trained and aligned on furniture, on objects that no network has seen. Written by "
        "`python -m aligncvc.paper verdict`: what is claimed stands in config/claims/verdict.yaml; whether a "
        "line holds is decided by a rule in the code (src/aligncvc/paper/verdict_rules.py), never by hand. "
        "How it is made: docs/verdict.md.",
        _about(about),
        "## In short",
        _summary(claims, groups),
        "Effects are mean differences (first minus second), paired over objects and seeds; brackets hold the "
        "95 % interval (hierarchical bootstrap, not corrected for the number of lines), and the whole "
        "interval has to satisfy the rule. Lines in *italics* are context: the claim does not hang on them.",
    ]
    for group, heading in HEADINGS.items():
        parts.append(heading)
        for key, claim in claims.claims.items():
            if claim.group == group:
                name = f"({key}) " if group == "claims" else ""
                parts += _section(f"### {name}{claim.title}", groups[key], notes.get(key, ""))
    if about.get("memory"):
        parts += ["Peak memory of one training step:", _memory(about["memory"])]
    parts.append("## Pictures")
    parts += [f"![{markdown(alt)}]({file})\n\n{markdown(caption)}" for file, caption, alt in pictures]
    parts.append("## Tables")
    parts += [f"### {name}\n\n[{name}.csv]({name}.csv)\n\n{text.strip()}" for name, text in tables.items()]
    return "\n\n".join(parts) + "\n"


def _about(about: Mapping[str, Any]) -> str:
    rows = {
        "Pair": markdown(about["pair"]),
        "Objects, seeds": f"{about['objects']} held out, seeds {', '.join(map(str, about['seeds']))}",
        "Protocol": f"`{about['protocol']}`",
        "Commit": f"`{about['commit']}`",
        "Sampled on": markdown("; ".join(about["hardware"])),
        "Records of": markdown(about["date"]),
    }
    text = "".join(f"| {key} | {value} |\n" for key, value in rows.items())
    runs = about.get("runs", [])
    head = "\n| Alignment run | Steps | Seconds |\n| --- | ---: | ---: |\n" if runs else ""
    body = "".join(f"| {r['run']} | {r['steps']} | {r['seconds']:.0f} |\n" for r in runs)
    return f"| | |\n| --- | --- |\n{text}{head}{body}".rstrip()


def _summary(claims: Claims, groups: Mapping[str, Sequence[Judged]]) -> str:
    rows = ["| | | | Lines that hold |", "| --- | --- | --- | ---: |"]
    for key, claim in claims.claims.items():
        main = [one.holds for one in groups[key] if one.line.main]
        name, answer = SHORT.get(claim.group, f"({key})"), WORDS[outcome(groups[key])]
        rows.append(f"| {name} | {claim.title} | {answer} | {main.count(True)} of {len(main)} |")
    return "\n".join(rows)


def _section(title: str, judged: Sequence[Judged], note: str) -> list[str]:
    rows = ["| | Effect | Objects | Rule | |", "| --- | ---: | ---: | --- | --- |"]
    for one in judged:
        text = markdown(one.line.statement)
        text = text if one.line.main else f"*{text}*"
        answer = WORDS[one.holds] if one.holds is not None or not one.note else ""
        remark = "; ".join(filter(None, [answer, markdown(one.note)]))
        rows.append(f"| {text} | {effect(one)} | {one.n or ''} | {one.rule} | {remark} |")
    return [f"{title}: {WORDS[outcome(judged)]}", "\n".join(rows), *([note.strip()] if note else [])]


def effect(one: Judged) -> str:
    """The effect with its interval and unit, with the metric's digits."""
    if math.isnan(one.effect.mean):
        return "n/a"
    if one.line.metric == "all":
        return f"{one.effect.mean:g}"
    digits = {"MB": 1, "dB": 2, "times": 2}.get(one.unit, described(one.line.metric).decimals)
    sign = "" if one.unit == "times" else "+"
    mean, lo, hi = (f"{value:{sign}.{digits}f}" for value in one.effect)
    bracket = "" if math.isnan(one.effect.lo) else f" [{lo}, {hi}]"
    return f"{mean}{bracket} {one.unit}".strip()


def _memory(rows: Sequence[Mapping[str, str]]) -> str:
    head = "| Trained | Peak MB | Weights MB | Hardware |\n| --- | ---: | ---: | --- |\n"
    return head + "\n".join(
        f"| {r['variant']} | {r['peak_mb']} | {r['weights_mb']} | {markdown(r['hardware'])} |" for r in rows
    )
