"""Quality against cost and over the number of steps K: dots and lines of methods that differ in K only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

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
LABEL_AT = ((5, 4), (5, -10), (-10, 4), (-10, -10))
"""Where the number of steps stands beside a dot, by family, in points: dots may coincide."""


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
            for index, (label, names) in enumerate(groups.items()):
                dots = {pair.rows[n].steps: (points[n][cost].centre, points[n][quality]) for n in names}
                _frontier(axes, dots, index % len(DOTS), colours[label])
            if pair.baseline in points:
                level = points[pair.baseline][quality].centre
                axes.axhline(level, color=style.QUIET, linewidth=0.7, linestyle=style.DASHES)
            axes.set_title(
                f"{CATALOGUE[quality].arrow}{', dB' * (quality == 'psnr')}", size=7.5, color=style.QUIET
            )
            known = [p[cost].centre for p in points.values() if p[cost].centre > 0]
            if known:
                axes.set_xlim(min(known) / 1.4, max(known) * 1.5)
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


def _frontier(axes: Axes, dots: Mapping[int, tuple[float, Interval]], index: int, colour: str) -> None:
    """One family: dots of (cost, quality) by number of steps."""
    known = {k: (x, y) for k, (x, y) in dots.items() if not math.isnan(x) and not math.isnan(y.centre)}
    xs, ys = [x for x, _ in known.values()], [y.centre for _, y in known.values()]
    axes.plot(xs, ys, color=colour, marker=DOTS[index], markersize=4.5, linewidth=1.2, zorder=3)
    for steps, (x, y) in known.items():
        if not math.isnan(y.lo):
            axes.plot((x, x), (y.lo, y.hi), color=colour, linewidth=0.9, alpha=0.6, zorder=2)
        axes.annotate(
            str(steps), (x, y.centre), xytext=LABEL_AT[index], textcoords="offset points", size=7,
            color=colour, zorder=5,
        )  # fmt: skip


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
