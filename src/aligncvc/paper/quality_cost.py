"""Quality against cost and over the number of steps K: dots and lines of methods that differ in K only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Affine2D

from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.stats import NONE, Interval
from aligncvc.paper import style
from aligncvc.paper.pair_results import PairResults
from aligncvc.paper.style import Drawn, captioned, chart, legend, looks, method_colours

QUALITY = ("psnr", "lpips")
COST = {"network_calls": "network calls", "seconds": "seconds an object"}
OVER_K = ("psnr", "lpips", "residual_psnr")

DOTS = ("s", "o", "D", "^")
LABEL_PT = 7.0
"""Size of the numbers of steps beside the dots."""
AROUND = tuple((math.cos(a * math.pi / 8), math.sin(a * math.pi / 8)) for a in range(16))
"""Directions in which a number may stand from its dot."""
HALO = [withStroke(linewidth=1.6, foreground="white")]

Box = tuple[float, float, float, float]
"""left, bottom, right, top in points."""


def family(pair: PairResults, name: str) -> str:
    """What a method has in common with those that differ from it in steps only."""
    row = pair.rows[name]
    if row.feedback == "two_stage":
        return pair.loop(name) + (f", {row.run}" if row.run else "")
    return pair.loop(name) + (f", aligned ({row.run})" if row.run else ", no alignment")


def families(pair: PairResults) -> dict[str, list[str]]:
    """Methods by family, each by number of steps; a lone ablation says nothing about that number."""
    groups: dict[str, list[str]] = {}
    for name in pair.rows:
        groups.setdefault(family(pair, name), []).append(name)
    kept = (family(pair, pair.lead), *(label for label in groups if label.startswith("two-stage")))
    return {
        label: sorted(names, key=lambda name: pair.rows[name].steps)
        for label, names in groups.items()
        if len(names) > 1 or label in kept
    }


def quality_vs_cost(pair: PairResults) -> Drawn | None:
    """Quality against cost for every number of steps; None if a method lacks quality or cost."""
    groups = families(pair)
    colours = method_colours(list(groups), family(pair, pair.lead))
    points = {name: _costs_and_quality(pair, name) for names in groups.values() for name in names}
    shown = [m for m in QUALITY if any(not math.isnan(p[m].centre) for p in points.values())]
    if not shown or all(math.isnan(p["seconds"].centre) for p in points.values()):
        return None
    tall, foot = 1.85, 0.72
    height = tall * len(shown) + foot
    figure = chart(height)
    for row, quality in enumerate(shown):
        for column, cost in enumerate(COST):
            bottom = (foot + 0.08 + (len(shown) - 1 - row) * tall) / height
            axes = figure.add_axes((0.085 + 0.49 * column, bottom, 0.41, 1.4 / height))
            axes.set_xscale("log")
            drawn: list[tuple[str, Sequence[Dot]]] = []
            for index, (label, names) in enumerate(groups.items()):
                dots = {pair.rows[n].steps: (points[n][cost].centre, points[n][quality]) for n in names}
                drawn.append((colours[label], _frontier(axes, dots, index % len(DOTS), colours[label])))
            level = points[pair.baseline][quality].centre if pair.baseline in points else math.nan
            if not math.isnan(level):
                axes.axhline(level, color=style.QUIET, linewidth=0.7, linestyle=style.DASHES)
            axes.set_title(
                f"{CATALOGUE[quality].arrow}{', dB' * (quality == 'psnr')}", size=7.5, color=style.QUIET
            )
            known = [p[cost].centre for p in points.values() if p[cost].centre > 0]
            if known:
                axes.set_xlim(min(known) / 1.4, max(known) * 1.5)
            number_dots(axes, drawn, level)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
            if row == len(shown) - 1:
                axes.set_xlabel(f"{COST[cost]} (log scale; left is cheaper)")
    legend(figure, looks(groups, colours, 4.5, DOTS))
    return captioned(figure, "quality_vs_cost", pair=pair, points=points, groups=groups, shown=shown)


def _costs_and_quality(pair: PairResults, name: str) -> dict[str, Interval]:
    """Means of cost and quality; the interval of quality is that of its paired difference to the baseline."""
    scores, key = pair.scores, pair.key(name)
    numbers = {m: scores.centre(key, m, FINAL_STEP, ("figure", m)) for m in (*QUALITY, *COST)}
    for metric in QUALITY:
        mean, gap = numbers[metric].centre, NONE
        if pair.baseline is not None and pair.baseline != name:
            other, stream = pair.key(pair.baseline), ("quality", metric, name)
            gap = scores.paired(key, other, metric, FINAL_STEP, stream)
        numbers[metric] = Interval(mean, mean + gap.lo - gap.centre, mean + gap.hi - gap.centre)
    return numbers


class Dot(NamedTuple):
    """A method in a chart; low, high: ends of its bar, NaN without one."""

    steps: int
    x: float
    y: float
    low: float
    high: float


def _frontier(axes: Axes, dots: Mapping[int, tuple[float, Interval]], index: int, colour: str) -> list[Dot]:
    """One family: dots of (cost, quality) by number of steps; returns those that were drawn."""
    known = {k: (x, y) for k, (x, y) in dots.items() if not math.isnan(x) and not math.isnan(y.centre)}
    xs, ys = [x for x, _ in known.values()], [y.centre for _, y in known.values()]
    axes.plot(xs, ys, color=colour, marker=DOTS[index], markersize=4.5, linewidth=1.2, zorder=3)
    for x, y in known.values():
        if not math.isnan(y.lo):
            axes.plot((x, x), (y.lo, y.hi), color=colour, linewidth=0.9, alpha=0.6, zorder=2)
    return [Dot(steps, x, y.centre, y.lo, y.hi) for steps, (x, y) in known.items()]


def number_dots(axes: Axes, drawn: Sequence[tuple[str, Sequence[Dot]]], level: float) -> None:
    """Write the number of steps beside each dot, where it hides least of what is drawn.

    drawn: families with their colours. level: of the line that goes through all; NaN without one.
    """
    axes.set_ylim(axes.get_ylim())  # as it is: the numbers are placed by it
    to_points = (axes.transData + Affine2D().scale(72 / axes.figure.dpi)).transform
    lines = [to_points([(x, level) for x in axes.get_xlim()])] if not math.isnan(level) else []
    for _, family in drawn:
        lines += [to_points([(a.x, a.y), (b.x, b.y)]) for a, b in pairwise(family)]
        lines += [to_points([(d.x, d.low), (d.x, d.high)]) for d in family if not math.isnan(d.low)]
    taken = [_box(to_points((dot.x, dot.y)), 7, 7) for _, family in drawn for dot in family]
    for start, end in lines:
        count = max(2, round(math.dist(start, end) / 3))
        taken += [_box(start + (end - start) * i / count, 1, 1) for i in range(count + 1)]
    for colour, dot in ((colour, dot) for colour, family in drawn for dot in family):
        at, text = to_points((dot.x, dot.y)), str(dot.steps)
        half = np.array([0.31 * LABEL_PT * len(text), 0.39 * LABEL_PT])
        places = [at + np.array(way) * (gap + half) for gap in (5, 8, 12) for way in AROUND]
        # of equally good ones the first: near, and to the right
        best = min(places, key=lambda place: sum(_overlap(_box(place, *(2 * half)), box) for box in taken))
        taken.append(_box(best, *(2 * half + 2)))
        axes.annotate(
            text, (dot.x, dot.y), xytext=tuple(best - at), textcoords="offset points", size=LABEL_PT,
            color=colour, zorder=5, ha="center", va="center", path_effects=HALO,
        )  # fmt: skip


def _box(centre: np.ndarray, width: float, height: float) -> Box:
    x, y = centre
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(one: Box, other: Box) -> float:
    """Area that two boxes share, square points."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    return max(0.0, width) * max(0.0, min(one[3], other[3]) - max(one[1], other[1]))


def quality_over_k(pair: PairResults) -> Drawn | None:
    """Quality and agreement for every number of steps K, a line for each alignment; None without records."""
    groups = {k: v for k, v in families(pair).items() if len(v) > 1 and not k.startswith("two-stage")}
    if not groups:
        return None
    colours, names = method_colours(list(groups), family(pair, pair.lead)), list(groups)
    figure = chart(2.5)
    for i, metric in enumerate(OVER_K):
        axes = figure.add_axes((0.05 + i / 3, 0.36, 0.8 / 3, 0.52))
        axes.set_xscale("log", base=2)
        means = {n: pair.scores.centre(pair.key(n), metric, stream=("figure", metric)) for n in pair.rows}
        ks: set[int] = set()
        for j, (label, marker) in enumerate(zip(names, cycle(style.MARKERS), strict=False)):
            points = [
                (pair.rows[n].steps, means[n]) for n in groups[label] if not math.isnan(means[n].centre)
            ]
            ks |= {k for k, _ in points}
            # side by side, so that intervals can be told apart
            xs = [k * 2 ** (0.06 * (j - len(names) / 2)) for k, _ in points]
            ys, width = (
                [mean.centre for _, mean in points],
                1.9 if colours[label] == style.LEAD_COLOUR else 1.1,
            )
            axes.plot(xs, ys, color=colours[label], marker=marker, markersize=3.5, linewidth=width)
            for x, (_, mean) in zip(xs, points, strict=True):
                axes.plot((x, x), mean[1:], color=colours[label], linewidth=0.8, alpha=0.7)
        if pair.baseline is not None:
            axes.axhline(means[pair.baseline].centre, color=style.INK, linewidth=0.8, linestyle=style.DASHES)
        axes.set_xticks(sorted(ks), [str(k) for k in sorted(ks)])
        axes.minorticks_off()
        axes.set_title(CATALOGUE[metric].arrow, color=style.QUIET, size=7.5)
        axes.set_xlabel("steps K")
    legend(figure, looks(names, colours), ncols=3, fontsize=7)
    return captioned(figure, "quality_over_k", pair=pair, groups=groups, metrics=OVER_K, ks=ks)
