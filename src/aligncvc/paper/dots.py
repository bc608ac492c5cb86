"""Figures made of dots: how metrics rank the controls, and what quality costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from aligncvc.config.sections import Method
from aligncvc.evaluate.catalogue import CATALOGUE, CONTROL_PREFIX, CONTROLS, Metric
from aligncvc.evaluate.discrimination import oriented
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.stats import Interval, object_means, paired_interval, samples_of
from aligncvc.paper.charts import counted
from aligncvc.paper.data import Material, measured
from aligncvc.paper.panels import Drawn
from aligncvc.paper.style import COLOURS, FAINT, INK, LEAD_COLOUR, QUIET, WIDTH_IN

CONTROL_STYLE = {
    "gt": ("D", INK), "jitter": ("o", COLOURS[0]), "shuffled": ("s", LEAD_COLOUR), "copy": ("^", COLOURS[2]),
}  # fmt: skip
WORST, BEST = -4.0, 1.5
"""Standard deviations at which the axis of the controls ends; what lies beyond stands on its border."""

VERDICT = {"yes": "ranks them", "no": "does not", "n/a": "n/a"}


def controls(material: Material) -> Drawn | None:
    """Each consistency metric's distance of every control from the true views; None without controls."""
    records = {name: material.of(CONTROL_PREFIX + name) for name in CONTROLS}
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
    axes.set_xlim(WORST - 0.1, BEST + 0.1)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=QUIET, linewidth=0.7, zorder=1)
    axes.set_xlabel(
        "difference from control:gt, in standard deviations of the metric over objects (better →)"
    )
    handles = [
        Line2D([], [], linestyle="", marker=m, color=c, markersize=4.5, label=CONTROL_PREFIX + name)
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
    shown = [CONTROL_PREFIX + name for name in present]
    caption = (
        "How each consistency metric ranks views of known consistency: the paired difference from the "
        f"true views over {counted(material, shown)}, in standard deviations of the "
        "metric over objects, with its 95 % bootstrap interval; right is better. An arrowhead stands at the "
        f"border for what lies beyond it. {judged}control:copy repeats the input at every pose: it agrees "
        "with itself, and only ground truth says that it is wrong."
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
    if not WORST <= gap.mean <= BEST:
        edge, head = (WORST, "<") if gap.mean < WORST else (BEST, ">")
        axes.plot(edge, level, marker=head, color=colour, markersize=5, linestyle="", alpha=strength)
        return
    if not math.isnan(gap.lo):
        low, high = max(gap.lo, WORST), min(gap.hi, BEST)
        axes.plot((low, high), (level, level), color=colour, linewidth=1.1, alpha=strength, zorder=2)
    axes.plot(
        gap.mean, level, marker=marker, color=colour, markersize=4.5, linestyle="", alpha=strength, zorder=3
    )


QUALITY = ("psnr", "lpips")
COST = {"network_calls": "network calls", "seconds": "seconds an object"}


LEVELS = ("s", "o", "D", "^")
LABEL_AT = ((5, 4), (5, -10), (-10, 4), (-10, -10))
"""Where the number of steps stands beside a dot, by family, in points: dots may coincide."""


def quality_vs_cost(material: Material) -> Drawn | None:
    """Quality against cost for every number of steps; None if a method lacks quality or cost."""
    groups = families(material)
    points = {name: _costs_and_quality(material, name) for group in groups.values() for name in group}
    shown = [m for m in QUALITY if any(not math.isnan(p[m].mean) for p in points.values())]
    if not shown or all(math.isnan(p["seconds"].mean) for p in points.values()):
        return None
    tall, foot = 1.85, 0.72
    height = tall * len(shown) + foot
    figure = Figure(figsize=(WIDTH_IN, height))
    for row, quality in enumerate(shown):
        for column, cost in enumerate(COST):
            bottom = (foot + 0.08 + (len(shown) - 1 - row) * tall) / height
            axes = figure.add_axes((0.085 + 0.49 * column, bottom, 0.41, 1.4 / height))
            axes.set_xscale("log")
            for index, (label, group) in enumerate(groups.items()):
                _frontier(
                    axes, material, points, group, (quality, cost), index, _colour(material, groups, label)
                )
            if material.baseline in points:
                axes.axhline(
                    points[material.baseline][quality].mean, color=QUIET, linewidth=0.7, linestyle=(0, (4, 2))
                )
            axes.set_title(f"{CATALOGUE[quality].arrow}{', dB' * (quality == 'psnr')}", size=7.5, color=QUIET)
            _plain_ticks(axes, [p[cost].mean for p in points.values()])
            if row == len(shown) - 1:
                axes.set_xlabel(f"{COST[cost]} (log scale; left is cheaper)")
    handles = [
        Line2D(
            [], [], color=_colour(material, groups, label), marker=LEVELS[i % 4], markersize=4.5, label=label
        )
        for i, label in enumerate(groups)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7.5)
    lines = "; ".join(f"{label}: {', '.join(group)}" for label, group in groups.items())
    bars = (
        f" Bars: 95 % bootstrap interval of the paired difference from {material.baseline}, whose quality is "
        "the dashed line; one that crosses the line shows no difference."
        if material.baseline in points
        else ""
    )
    caption = (
        "Quality of the final model against its cost; the number beside each dot is the number of denoising "
        f"steps K. Means over {counted(material, list(points))}.{bars} {lines}. Seconds were taken on the "
        "machine that the cost table names."
    )
    alt = f"Scatter plots of {', '.join(shown)} against network calls and seconds for {len(points)} methods."
    return Drawn(figure, caption, alt)


def _costs_and_quality(material: Material, name: str) -> dict[str, Interval]:
    """Means of cost and quality; the interval of quality is that of its paired difference to the baseline."""
    records, seed = material.of(name), material.config.seed
    found = {m: measured(records, m, FINAL_STEP, seed) for m in (*QUALITY, *COST)}
    for metric in QUALITY:
        mean, paired = found[metric].mean, Interval(math.nan, math.nan, math.nan)
        if material.baseline not in (None, name):
            here, there = (samples_of(r, metric) for r in (records, material.of(str(material.baseline))))
            paired = paired_interval(here, there, seed, "quality", metric, name)
        found[metric] = Interval(mean, mean + paired.lo - paired.mean, mean + paired.hi - paired.mean)
    return found


def _colour(material: Material, groups: Mapping[str, Sequence[str]], label: str) -> str:
    if material.lead in groups[label]:
        return LEAD_COLOUR
    others = [name for name, group in groups.items() if material.lead not in group]
    return COLOURS[others.index(label) % len(COLOURS)]


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
    points: Mapping[str, Mapping[str, Interval]],
    group: Sequence[str],
    what: tuple[str, str],
    index: int,
    colour: str,
) -> None:
    """One family: dots of (cost, quality) in order of steps."""
    quality, cost = what
    dots = [(n, points[n][cost].mean, points[n][quality]) for n in group]
    dots = [(n, x, value) for n, x, value in dots if not math.isnan(x) and not math.isnan(value.mean)]
    axes.plot(
        [x for _, x, _ in dots], [value.mean for _, _, value in dots], color=colour,
        marker=LEVELS[index % 4], markersize=4.5, linewidth=1.2, zorder=3,
    )  # fmt: skip
    for name, x, value in dots:
        if not math.isnan(value.lo):
            axes.plot((x, x), (value.lo, value.hi), color=colour, linewidth=0.9, alpha=0.6, zorder=2)
        axes.annotate(
            str(material.config.sample.methods[name].steps), (x, value.mean), xytext=LABEL_AT[index % 4],
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
