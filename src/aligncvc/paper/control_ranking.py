"""How each consistency metric ranks the controls: a dot a control, by its distance from the true views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from aligncvc.evaluate.catalogue import CATALOGUE, CONTROL_PREFIX, CONTROLS
from aligncvc.evaluate.scores import Scores, control
from aligncvc.evaluate.stats import Interval, object_means, paired_interval
from aligncvc.paper.style import COLOURS, FAINT, INK, LEAD_COLOUR, QUIET, Drawn, captioned, chart, legend

LOOKS = {
    "gt": ("D", INK), "jitter": ("o", COLOURS[0]), "shuffled": ("s", LEAD_COLOUR), "copy": ("^", COLOURS[2]),
}  # fmt: skip
WORST, BEST = -4.0, 1.5
"""Standard deviations at which the axis ends; what lies beyond stands on its border."""

RANKING_WORDS = {"yes": "ranks them", "no": "does not", "n/a": "n/a"}


def control_ranking(scores: Scores, rankings: Mapping[str, str]) -> Drawn | None:
    """Each consistency metric's distance of every control from the true views; None without controls."""
    present = [name for name in CONTROLS if control(name) in scores.keys]
    known = set(scores.metrics(control("gt")))
    metrics = [m for m in CATALOGUE.values() if m.family == "consistency" and m.name in known - {"matches"}]
    gaps = {m: found for m in metrics if not m.set_level and (found := _gaps(scores, m.name, present))}
    if not gaps:
        return None
    pitch, head, foot = 0.215, 0.34, 0.48
    height = head + len(gaps) * pitch + foot
    figure = chart(height)
    axes = figure.add_axes((0.27, foot / height, 0.58, len(gaps) * pitch / height))
    for i, (metric, of_controls) in enumerate(gaps.items()):
        _row(axes, i, rankings.get(metric.name, "n/a"), of_controls)
    axes.set_yticks(range(len(gaps)), [m.heading for m in gaps])
    axes.tick_params(axis="y", labelsize=7.5, labelcolor=INK, pad=6)
    axes.set_ylim(len(gaps) - 0.5, -0.5)
    axes.set_xlim(WORST - 0.1, BEST + 0.1)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
    axes.set_xlabel(
        "difference from control:gt, in standard deviations of the metric over objects (better →)"
    )
    dots = {CONTROL_PREFIX + name: look for name, look in LOOKS.items() if name in present}
    entries = {n: {"marker": m, "color": c, "linestyle": "", "markersize": 4.5} for n, (m, c) in dots.items()}
    legend(figure, entries, loc="upper center", bbox_to_anchor=(0.56, 1.0), borderaxespad=0.1)
    good, bad = ([m.heading for m in gaps if rankings.get(m.name) == answer] for answer in ("yes", "no"))
    facts = {"good": good, "bad": bad, "counted": scores.counted(map(control, present))}
    return captioned(figure, "controls", metrics=len(gaps), controls=len(present), **facts)


def _gaps(scores: Scores, metric: str, present: list[str]) -> dict[str, Interval]:
    """Paired differences of every other control from gt, in standard deviations; empty without spread."""
    values = {name: scores.oriented(control(name), metric) for name in present}
    pooled = [list(object_means(found).values()) for found in values.values() if len(found) > 1]
    spread = math.sqrt(float(np.mean([np.var(v, ddof=1) for v in pooled]))) if pooled else 0.0
    truth = values.pop("gt", {})
    if not truth or not spread > 0:
        return {}
    gaps = {
        name: paired_interval(found, truth, scores.seed, "controls", metric, name)
        for name, found in values.items()
        if found
    }
    return {n: Interval(*(v / spread for v in gap)) for n, gap in gaps.items() if not math.isnan(gap.centre)}


def _row(axes: Axes, level: int, ranking: str, gaps: Mapping[str, Interval]) -> None:
    """One metric: its controls, the true views at zero, and whether it ranks them."""
    weak = ranking == "no"
    strength = 0.4 if weak else 1.0
    if level % 2:
        axes.axhspan(level - 0.5, level + 0.5, color=FAINT, alpha=0.35, linewidth=0)
    for name, gap in gaps.items():
        marker, colour = LOOKS[name]
        style: dict[str, Any] = {"color": colour, "linestyle": "", "alpha": strength}
        if not WORST <= gap.centre <= BEST:
            edge, head = (WORST, "<") if gap.centre < WORST else (BEST, ">")
            axes.plot(edge, level, marker=head, markersize=5, **style)
            continue
        if not math.isnan(gap.lo):
            ends = max(gap.lo, WORST), min(gap.hi, BEST)
            axes.plot(ends, (level, level), color=colour, linewidth=1.1, alpha=strength, zorder=2)
        axes.plot(gap.centre, level, marker=marker, markersize=4.5, zorder=3, **style)
    axes.plot(0, level, marker="D", color=INK, markersize=4, linestyle="", zorder=4, alpha=strength)
    axes.text(
        1.02, level, RANKING_WORDS[ranking], transform=axes.get_yaxis_transform(), va="center", size=7.5,
        color=QUIET if ranking != "yes" else INK, style="italic" if weak else "normal",
    )  # fmt: skip
