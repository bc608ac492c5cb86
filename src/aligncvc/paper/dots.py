"""Figures made of dots: how metrics rank the controls, and what quality costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from aligncvc.config import Method
from aligncvc.evaluate.catalogue import CATALOGUE, Metric
from aligncvc.evaluate.controls import CONTROLS, PREFIX
from aligncvc.evaluate.discrimination import oriented
from aligncvc.evaluate.stats import Interval, object_means, paired_interval
from aligncvc.paper.charts import counted
from aligncvc.paper.data import Material, measured
from aligncvc.paper.panels import Drawn
from aligncvc.paper.style import COLOURS, FAINT, INK, LEAD_COLOUR, QUIET, WIDTH_IN

CONTROL_STYLE = {
    "gt": ("D", INK), "jitter": ("o", COLOURS[0]), "shuffled": ("s", LEAD_COLOUR), "copy": ("^", COLOURS[2]),
}  # fmt: skip
FURTHEST = 4.0
"""Standard deviations at which the axis of the controls ends; what lies beyond stands on its border."""

VERDICT = {"yes": "ranks them", "no": "does not", "n/a": "n/a"}


def controls(material: Material) -> Drawn | None:
    """Each consistency metric's distance of every control from the true views; None without controls."""
    records = {name: material.of(PREFIX + name) for name in CONTROLS}
    present = {name: found for name, found in records.items() if found}
    known = {r.metric for r in present.get("gt", [])}
    metrics = [
        m
        for m in CATALOGUE.values()
        if m.family == "consistency" and not m.set_level and m.name in known and m.name != "matches"
    ]
    gaps = {m: _gaps(material, m, present) for m in metrics}
    gaps = {m: found for m, found in gaps.items() if found}
    if not gaps:
        return None
    pitch, head, foot = 0.215, 0.34, 0.48
    height = head + len(gaps) * pitch + foot
    figure = Figure(figsize=(WIDTH_IN, height))
    axes = figure.add_axes((0.27, foot / height, 0.58, len(gaps) * pitch / height))
    for i, (metric, found) in enumerate(gaps.items()):
        verdict = material.verdicts.get(metric.name, "n/a")
        weak = verdict == "no"
        if i % 2:
            axes.axhspan(i - 0.5, i + 0.5, color=FAINT, alpha=0.35, linewidth=0)
        for name, gap in found.items():
            _dot(axes, i, gap, *CONTROL_STYLE[name], faint=weak)
        axes.plot(0, i, marker="D", color=INK, markersize=4, linestyle="", zorder=4, alpha=0.4 if weak else 1)
        axes.text(
            1.02, i, VERDICT[verdict], transform=axes.get_yaxis_transform(), va="center", size=7.5,
            color=QUIET if verdict != "yes" else INK, style="italic" if weak else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(gaps)), [m.heading for m in gaps])
    axes.tick_params(axis="y", labelsize=7.5, labelcolor=INK, pad=6)
    axes.set_ylim(len(gaps) - 0.5, -0.5)
    axes.set_xlim(-FURTHEST - 0.1, 1.1)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
    axes.set_xlabel(
        "difference from control:gt, in standard deviations of the metric over objects (better →)"
    )
    handles = [
        Line2D([], [], linestyle="", marker=m, color=c, markersize=4.5, label=PREFIX + name)
        for name, (m, c) in CONTROL_STYLE.items()
        if name in present
    ]
    figure.legend(
        handles=handles, loc="upper center", ncols=len(handles), frameon=False, fontsize=7.5,
        bbox_to_anchor=(0.56, 1.0), borderaxespad=0.1,
    )  # fmt: skip
    good = [m.heading for m in gaps if material.verdicts.get(m.name) == "yes"]
    bad = [m.heading for m in gaps if material.verdicts.get(m.name) == "no"]
    judged = (
        f"Metrics that rank GT above jittered above shuffled, both 95 % intervals excluding zero: "
        f"{', '.join(good) or 'none'}. Metrics that do not: {', '.join(bad) or 'none'}. "
        if good or bad
        else ""
    )
    caption = (
        "How each consistency metric ranks views of known consistency: the paired difference from the "
        f"true views over {counted(material, [PREFIX + n for n in present])}, in standard deviations of the "
        "metric over objects, with its 95 % bootstrap interval; right is better. An arrowhead stands at the "
        f"border for what lies beyond it. {judged}control:copy repeats the input at every pose: it agrees with "
        "itself, and only ground truth says that it is wrong."
    )
    alt = f"Dot plot of {len(gaps)} metrics by {len(present)} controls. {judged}"
    return Drawn(figure, caption, alt)


def _gaps(material: Material, metric: Metric, present: dict[str, list]) -> dict[str, Interval]:
    """Paired differences of every other control from gt, in standard deviations; empty without spread."""
    scores = {name: oriented(metric, found) for name, found in present.items()}
    pooled = [list(object_means(found).values()) for found in scores.values() if len(found) > 1]
    spread = math.sqrt(float(np.mean([np.var(v, ddof=1) for v in pooled]))) if pooled else 0.0
    if "gt" not in scores or not scores["gt"] or not spread > 0:
        return {}
    found = {
        name: paired_interval(values, scores["gt"], material.config.seed, "controls", metric.name, name)
        for name, values in scores.items()
        if name != "gt" and values
    }
    return {n: Interval(*(v / spread for v in gap)) for n, gap in found.items() if not math.isnan(gap.mean)}


def _dot(axes: Axes, level: float, gap: Interval, marker: str, colour: str, faint: bool) -> None:
    strength = 0.4 if faint else 1.0
    if gap.mean < -FURTHEST:
        axes.plot(-FURTHEST, level, marker="<", color=colour, markersize=5, linestyle="", alpha=strength)
        return
    if not math.isnan(gap.lo):
        low, high = max(gap.lo, -FURTHEST), min(gap.hi, 1.1)
        axes.plot((low, high), (level, level), color=colour, linewidth=1.1, alpha=strength, zorder=2)
    axes.plot(
        gap.mean, level, marker=marker, color=colour, markersize=4.5, linestyle="", alpha=strength, zorder=3
    )


QUALITY = ("psnr", "lpips")
COST = {"network_calls": "network calls", "seconds": "seconds an object"}


def quality_vs_cost(material: Material) -> Drawn | None:
    """Quality against cost for every number of steps; None if a method lacks quality or cost."""
    groups = families(material)
    seed = material.config.seed
    points = {
        name: {m: measured(material.of(name), m, -1, seed) for m in (*QUALITY, *COST)}
        for group in groups.values()
        for name in group
    }
    shown = [m for m in QUALITY if any(not math.isnan(p[m].mean) for p in points.values())]
    if not shown or all(math.isnan(p["seconds"].mean) for p in points.values()):
        return None
    tall, foot = 1.75, 0.75
    height = tall * len(shown) + foot
    figure = Figure(figsize=(WIDTH_IN, height))
    for row, quality in enumerate(shown):
        for column, cost in enumerate(COST):
            box = (
                0.085 + 0.49 * column,
                (foot + 0.05 + (len(shown) - 1 - row) * tall) / height,
                0.41,
                1.4 / height,
            )
            axes = figure.add_axes(box)
            for label, group in groups.items():
                _frontier(axes, material, points, group, quality, cost, label)
            axes.set_title(f"{CATALOGUE[quality].arrow}{', dB' * (quality == 'psnr')}", size=7.5, color=QUIET)
            axes.set_xscale("log")
            _plain_ticks(axes, [p[cost].mean for p in points.values()])
            if row == len(shown) - 1:
                axes.set_xlabel(f"{COST[cost]} (log scale; left is cheaper)")
    handles = [
        Line2D([], [], color=_colour(i), marker=_MARKERS[i % 4], markersize=4.5, label=label)
        for i, label in enumerate(groups)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7.5)
    lines = "; ".join(f"{label}: {', '.join(group)}" for label, group in groups.items())
    caption = (
        "Quality of the final model against its cost; the number beside each dot is the number of denoising "
        f"steps K. Means over {counted(material, list(points))}, bars: 95 % bootstrap interval of the "
        f"quality. {lines}. Seconds were taken on the machine that the cost table names."
    )
    alt = f"Scatter plots of {', '.join(shown)} against network calls and seconds for {len(points)} methods."
    return Drawn(figure, caption, alt)


_MARKERS = ("s", "o", "D", "^")


def _colour(index: int) -> str:
    return (COLOURS[0], COLOURS[1], LEAD_COLOUR)[index] if index < 3 else COLOURS[index % len(COLOURS)]


def families(material: Material) -> dict[str, list[str]]:
    """Methods that differ in steps only, by what they have in common, each by number of steps."""
    methods = material.config.sample.methods

    def kind(method: Method) -> str:
        if method.sampler == "two_stage":
            return "two-stage" + (f", {method.run}" if method.run else "")
        return "3D-aware, no alignment" if method.run is None else f"3D-aware, aligned ({method.run})"

    groups: dict[str, list[str]] = {}
    for name in material.samples:
        groups.setdefault(kind(methods[name]), []).append(name)
    kept = {k: sorted(v, key=lambda n: methods[n].steps) for k, v in groups.items()}
    lead = kind(methods[material.lead])
    # a lone ablation says nothing about the number of steps
    return {k: v for k, v in kept.items() if len(v) > 1 or k == lead or k.startswith("two-stage")}


def _frontier(
    axes: Axes,
    material: Material,
    points: dict[str, dict[str, Interval]],
    group: Sequence[str],
    quality: str,
    cost: str,
    label: str,
) -> None:
    index = list(families(material)).index(label)
    colour, marker = _colour(index), _MARKERS[index % 4]
    known = [
        n for n in group if not math.isnan(points[n][quality].mean) and not math.isnan(points[n][cost].mean)
    ]
    xs = [points[n][cost].mean for n in known]
    ys = [points[n][quality].mean for n in known]
    axes.plot(xs, ys, color=colour, marker=marker, markersize=4.5, linewidth=1.2, zorder=3)
    for name, x, y in zip(known, xs, ys, strict=True):
        value = points[name][quality]
        if not math.isnan(value.lo):
            axes.plot((x, x), (value.lo, value.hi), color=colour, linewidth=0.8, alpha=0.55, zorder=2)
        axes.annotate(
            str(material.config.sample.methods[name].steps), (x, y), xytext=(4, 4),
            textcoords="offset points", size=7, color=colour, zorder=5,
        )  # fmt: skip


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    known = [v for v in values if v > 0]
    if not known:
        return
    low, high = min(known) / 1.4, max(known) * 1.5
    axes.set_xlim(low, high)
    ticks = [b * 10.0**e for e in range(-4, 6) for b in (1, 2, 5) if low <= b * 10.0**e <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
