"""The verdict's README.md: one line for each claim and goal, tables and pictures, as GitHub shows it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aligncvc.paper.claims import Claims, described
from aligncvc.paper.table_formats import markdown
from aligncvc.paper.verdict_rules import Judged, outcome
from aligncvc.viewer.templating import render_template

TEMPLATES = Path(__file__).resolve().parent / "templates"

WORDS = {True: "holds", False: "**does not hold**", None: "n/a"}
HEADINGS = {"claims": "Claims", "goals": "Goals", "controls": "Controls"}
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
    return render_template(
        "verdict_page.txt",
        folder=TEMPLATES,
        claims=claims,
        about=about,
        groups={key: [one for one in judged if one.line.claim == key] for key in claims.claims},
        tables=tables,
        pictures=pictures,
        notes=defaultdict(str, notes),
        words=WORDS,
        headings=HEADINGS,
        short=SHORT,
        effect=effect,
        markdown=markdown,
        outcome=outcome,
    )


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
