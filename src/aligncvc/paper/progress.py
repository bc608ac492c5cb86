"""Agreement and quality as sampling goes on, over network calls and seconds, of methods of all pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from aligncvc.config.jobs.paper import Row
from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.scores import Key
from aligncvc.evaluate.stats import Interval
from aligncvc.paper import style
from aligncvc.paper.pair_results import PairResults
from aligncvc.paper.quality_cost import COST
from aligncvc.paper.style import Drawn, captioned, chart, legend, looks, method_colours

PROGRESS = ("silhouette_coherence", "residual_unseen_psnr", "renders_union_psnr")


def shares(row: Row) -> list[float]:
    """The part of a method's steps that is done at each kept one, up to 1: all its steps cost alike."""
    return [(index + 1) / row.steps for index in row.kept]


def quarters(done: Sequence[float], points: Sequence[Interval]) -> dict[float, Interval]:
    """Four measured points at most, evenly spaced and the last among them, by the share that is done."""
    measured = [(x, y) for x, y in zip(done, points, strict=False) if not math.isnan(y.centre)]
    last, count = len(measured), min(4, len(measured))
    return dict(measured[round((i + 1) * last / count) - 1] for i in range(count))


def progress(pairs: Sequence[PairResults]) -> Drawn | None:
    """Three metrics at the kept steps of the methods of `evaluate.curves`; None where none was measured.

    Seconds and calls are the method's median for an object times the share of its steps that is done.
    """
    first, wanted = pairs[0], pairs[0].job.curves
    known = {name: (pair, row) for pair in reversed(pairs) for name, row in pair.rows.items()}
    methods = [name for name in wanted if name in known]
    shown = [
        metric
        for metric in PROGRESS
        if any(first.scores.last_step(Key(known[name][0].pair, name), metric) > 0 for name in methods)
    ]
    if not shown:
        return None
    colours = method_colours(methods, first.lead if first.lead in methods else methods[-1])
    figure = chart(4.3)
    axes = figure.subplots(len(COST), len(shown), squeeze=False, sharey="col")
    figure.subplots_adjust(left=0.07, right=0.985, top=0.94, bottom=0.19, wspace=0.25, hspace=0.5)
    for row_of_axes, (cost, words) in zip(axes, COST.items(), strict=True):
        for panel, metric in zip(row_of_axes, shown, strict=True):
            for name, marker in zip(methods, cycle(style.MARKERS), strict=False):
                pair, row = known[name]
                key, stream = pair.key(name), ("progress", metric)
                price = pair.scores.centre(key, cost, FINAL_STEP, ("progress", cost)).centre
                points = quarters(shares(row), pair.scores.curve(key, metric, stream))
                if math.isnan(price) or not points:
                    continue
                panel.plot(
                    [price * share for share in points], [point.centre for point in points.values()],
                    color=colours[name], marker=marker, markersize=3.6,
                    linewidth=1.9 if name == first.lead else 1.2,
                )  # fmt: skip
                for share, point in points.items():
                    ends = (price * share,) * 2, (point.lo, point.hi)
                    panel.plot(*ends, color=colours[name], linewidth=0.8, alpha=0.6)
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_major_locator(MaxNLocator(4))
            panel.set_title(CATALOGUE[metric].arrow, size=7.5, color=style.QUIET)
            panel.set_xlabel(words)
    legend(figure, looks(methods, colours), ncols=min(4, len(methods)), fontsize=7)
    counted = first.scores.counted(known[name][0].key(name) for name in methods)
    return captioned(figure, "progress", counted=counted, methods=methods, shown=shown)
