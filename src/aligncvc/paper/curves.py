"""Curves over sampling steps (consistency and quality after each kept one) and over training steps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aligncvc.evaluate.catalogue import CATALOGUE, Metric
from aligncvc.paper import style
from aligncvc.paper.pair_results import UPPER_BOUND, Log, PairResults
from aligncvc.paper.style import Drawn, captioned, chart, label_ends, legend, looks, method_colours

BOUND = UPPER_BOUND.method
BOUND_LOOK: dict[str, Any] = {"color": style.INK, "linewidth": 0.9, "linestyle": style.DASHES}

ROWS: Mapping[str, tuple[str, str]] = style.SETTINGS["consistency"]
"""Rows of the consistency curves by beginning of the metrics' names: heading, and what they compare."""

FAMILIES = ("consistency", "distribution")

IN_PAGE = ("residual_psnr", "heldout_psnr", "heldout_lpips", "kernel_lite0_views_renders")
"""What the page shows first of the consistency curves: views against their model, views among themselves (in
LPIPS too, which blur does not buy), both as sets. The others stand in the appendix."""

FEW = ("residual_psnr", "heldout_psnr", "views_psnr")
"""Metrics of the verdict's panels."""

SMOOTHING = 0.1
"""Moving-average window as a share of the longest run's training steps."""

Panels = Mapping[str, Sequence[str]]
"""Columns by title; a second one is drawn dashed."""

LOSSES: Panels = style.SETTINGS["losses"]
EFFECTS: Panels = style.SETTINGS["effects"]
"""What tells whether post-training works: the verdict's panels."""


def line_panel(
    axes: Axes,
    pair: PairResults,
    metric: str,
    methods: Sequence[str],
    colours: Mapping[str, str],
    *,
    ends: bool = False,
    faint: bool = False,
) -> None:
    """A metric over the kept steps: a line a method with its 95 % band, the upper bound dashed.

    ends: names at the right ends of the lines. faint: lines step back, for metrics that discriminate nothing.
    """
    levels: dict[str, tuple[float, float]] = {}
    steps, strength = 1, 0.35 if faint else 1.0
    for name, marker in zip(methods, cycle(style.MARKERS), strict=False):
        points = pair.scores.curve(pair.key(name), metric, ("figure", metric))
        if not points:
            continue
        steps = max(steps, len(points))
        xs, lead = np.arange(1, len(points) + 1), name == pair.lead
        means, low, high = np.array(points).T
        axes.fill_between(xs, low, high, color=colours[name], alpha=0.14 * strength, linewidth=0)
        axes.plot(
            xs, means, color=colours[name], marker=marker, markersize=3.6, markeredgecolor="white",
            markeredgewidth=0.5, linewidth=2.0 if lead else 1.3, zorder=4 if lead else 3, alpha=strength,
        )  # fmt: skip
        levels[name] = (len(points), float(means[-1]))
    # the control's views are the ground truth, so their score against it is no level to reach
    against_truth = metric.startswith(("delta_", "views_"))
    bound = [] if against_truth else pair.scores.curve(UPPER_BOUND, metric, ("figure", metric))
    if bound:
        axes.axhline(bound[-1].centre, zorder=2, alpha=strength, **BOUND_LOOK)
        levels[BOUND] = (steps, bound[-1].centre)
    if metric.startswith("delta_"):
        axes.axhline(0.0, color=style.QUIET, linewidth=0.6, zorder=1)
    axes.set_xlim(0.85, steps + 0.15)
    axes.set_xticks(range(1, steps + 1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.12)
    if ends and levels:
        label_ends(axes, levels, {**colours, BOUND: style.INK})


def step_metrics(pair: PairResults, methods: Sequence[str]) -> dict[str, list[Metric]]:
    """The consistency metrics that were measured at some step for one of these methods, by row."""
    rows: dict[str, list[Metric]] = {start: [] for start in ROWS}
    for metric in CATALOGUE.values():
        name = metric.name
        if name == "matches" or name.startswith("frechet_") or metric.family not in FAMILIES:
            continue
        if metric.per_step and any(pair.scores.last_step(pair.key(m), name) >= 1 for m in methods):
            rows[next(start for start in ROWS if name.startswith(start))].append(metric)
    return {start: metrics for start, metrics in rows.items() if metrics}


class CurveRow(NamedTuple):
    """Panels that stand side by side: metrics by title."""

    heading: str
    meaning: str
    metrics: Mapping[str, Metric]


def in_page(pair: PairResults, rows: Mapping[str, Sequence[Metric]]) -> list[Metric]:
    """The four that the page shows: those that rank the controls, IN_PAGE before others."""

    def place(metric: Metric) -> tuple[bool, int]:
        order = IN_PAGE.index(metric.name) if metric.name in IN_PAGE else len(IN_PAGE)
        return pair.rankings.get(metric.name) == "no", order

    measured = [metric for metrics in rows.values() for metric in metrics]
    return sorted(measured, key=place)[: len(IN_PAGE)]


def consistency_curves(pair: PairResults) -> Drawn | None:
    """Four consistency metrics over the kept steps; None if none was measured by step."""
    rows = step_metrics(pair, pair.compared)
    shown = in_page(pair, rows)
    if not shown:
        return None
    others = sum(map(len, rows.values())) - len(shown)
    row = CurveRow("", "", {textwrap.fill(metric.arrow, 24): metric for metric in shown})
    return _curves(pair, [row], "consistency_curves", others=others)


def consistency_appendix(pair: PairResults) -> Drawn | None:
    """Every other consistency metric over the kept steps, row by row; None if there is none."""
    rows = step_metrics(pair, pair.compared)
    shown = in_page(pair, rows)
    drawn = []
    for start, metrics in rows.items():
        heading, meaning = ROWS[start]
        titles = {}
        for metric in (m for m in metrics if m not in shown):
            # what the row's heading leaves to say, with the metric's arrow
            words = style.SETTINGS["short"].get(metric.name, metric.heading.removeprefix(heading).strip())
            titles[words + metric.arrow.removeprefix(metric.heading)] = metric
        drawn += [CurveRow(heading, meaning, titles)] if titles else []
    return _curves(pair, drawn, "consistency_appendix") if drawn else None


def _curves(pair: PairResults, rows: Sequence[CurveRow], name: str, **facts: Any) -> Drawn:
    """Small multiples with a legend below; facts: more of the caption's."""
    methods = pair.compared
    colours = method_colours(list(pair.samples), pair.lead)
    across = max(4, *(len(row.metrics) for row in rows))
    headed = any(row.heading for row in rows)
    tall, foot, top = 1.5 if headed else 1.75, 0.52, 0.42 if headed else 0.34
    height = len(rows) * tall + foot
    figure = chart(height)
    muted = []
    for index, row in enumerate(rows):
        level = 1 - (index * tall + 0.1) / height
        figure.text(0.004, level, row.heading, size=8, weight="bold", va="center")
        figure.text(0.16, level, row.meaning, size=7.5, color=style.QUIET, va="center")
        for column, (title, metric) in enumerate(row.metrics.items()):
            bottom = 1 - (index * tall + tall - 0.28) / height
            box = ((column + 0.25) / across, bottom, 0.68 / across, (tall - 0.28 - top) / height)
            axes = figure.add_axes(box)
            weak = pair.rankings.get(metric.name) == "no"
            line_panel(axes, pair, metric.name, methods, colours, faint=weak)
            axes.set_title(title, color=style.QUIET if weak else style.INK, size=7, pad=3)
            axes.tick_params(labelsize=6.5, pad=2)
            if index == len(rows) - 1:
                axes.set_xlabel("kept sampling step", size=7)
            if weak:
                muted.append(metric.heading)
                _grey_out(axes)
    measured = set(pair.scores.keys)
    entries = {n: look for n, look in looks(methods, colours).items() if pair.key(n) in measured}
    bounded = UPPER_BOUND in measured
    if bounded:
        entries[BOUND] = BOUND_LOOK
    legend(figure, entries)
    facts |= {"headings": [metric.heading for row in rows for metric in row.metrics.values()], "bound": BOUND}
    return captioned(figure, name, pair=pair, methods=methods, bounded=bounded, muted=muted, **facts)


def _grey_out(axes: Axes) -> None:
    """Say on the panel itself that its metric tells nothing apart on this rig."""
    axes.set_facecolor(style.EMPTY)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.2 * (high - low))  # room for the words
    axes.text(
        0.5, 0.96, "does not discriminate", transform=axes.transAxes, ha="center", va="top", size=6.5,
        color=style.QUIET, style="italic", zorder=6,
    )  # fmt: skip


def few_curves(pair: PairResults) -> Drawn | None:
    """Residual, held-out consistency and the views' quality after each kept step; None without records."""
    methods = [name for name in pair.job.curves if name in pair.samples]
    shown = [m for m in FEW if any(pair.scores.last_step(pair.key(name), m) > 0 for name in methods)]
    if not shown:
        return None
    colours = method_colours(methods, pair.lead)
    figure = chart(2.3)
    for i, metric in enumerate(shown):
        axes = figure.add_axes((0.05 + i / len(shown), 0.3, 0.8 / len(shown), 0.56))
        line_panel(axes, pair, metric, methods, colours)
        axes.set_title(f"{CATALOGUE[metric].arrow}, dB", color=style.QUIET, size=7.5)
        axes.set_xlabel("kept sampling step")
    legend(figure, looks(methods, colours))
    return captioned(figure, "few_curves", pair=pair, methods=methods, shown=shown)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average over `window` values (fewer at the ends), ignoring NaN."""
    return pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()


def training(pair: PairResults, panels: Panels = LOSSES) -> Drawn | None:
    """Columns of the logs over the steps of each run; None where no log has one."""
    logs = pair.logs
    shown = {title: keys for title, keys in panels.items() if any(_has(log, *keys) for log in logs.values())}
    if not shown:
        return None
    colours = method_colours(list(logs), "both")
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    height = 0.35 + 1.75 * down
    figure = chart(height)
    grid = figure.subplots(down, across, squeeze=False)
    figure.subplots_adjust(
        left=0.06, right=0.93, top=1 - 0.28 / height, bottom=0.4 / height, wspace=0.42, hspace=0.5
    )
    # one window for all runs, so that a short one is no noisier than the others
    window = max(1, round(SMOOTHING * max(len(log["step"]) for log in logs.values())))
    for axes, (title, keys) in zip(grid.flat, shown.items(), strict=False):
        axes.set_title(title, color=style.QUIET, size=7.5)
        _panel(axes, keys, logs, colours, window)
    for i, axes in enumerate(grid.flat):
        axes.set_visible(i < len(shown))
        if len(shown) - across <= i < len(shown):
            axes.set_xlabel("training step")
    facts = {
        "smoothing": f"{SMOOTHING:.0%}",
        "dashed": any(len(keys) > 1 for keys in shown.values()),
        "changes": [f"{name}: {_change(log)}" for name, log in logs.items()],
    }
    return captioned(figure, "training", logs=logs, shown=shown, **facts)


def _panel(
    axes: Axes, keys: Sequence[str], logs: Mapping[str, Log], colours: Mapping[str, str], window: int
) -> None:
    ends: dict[str, tuple[float, float]] = {}
    for name, log in logs.items():
        for key, dashes in zip(keys, ("-", (0, (3, 2))), strict=False):
            if not _has(log, key):
                continue
            steps, values = log["step"] + 1, log[key]
            known = ~np.isnan(values)
            # what is logged at few steps is drawn as it is
            sparse = known.sum() <= len(values) / 4
            average = values if sparse else smooth(values, min(window, len(values)))
            drawn = known if sparse else np.ones_like(known)
            if len(keys) == 1 and not sparse:
                axes.plot(steps, values, color=colours[name], linewidth=0.6, alpha=0.25)
            axes.plot(steps[drawn], average[drawn], color=colours[name], linewidth=1.8, linestyle=dashes)
            last = average[~np.isnan(average)][-1]
            ends.setdefault(name, (float(steps[-1]), float(last)))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.01)
    label_ends(axes, ends, colours)


def _has(log: Log, *keys: str) -> bool:
    return any(key in log and not np.isnan(log[key]).all() for key in keys)


def _change(log: Log) -> str:
    if not _has(log, "residual_psnr"):
        return "not logged"
    values = log["residual_psnr"]
    tenth = max(1, round(0.1 * len(values)))
    return f"{np.nanmean(values[:tenth]):.2f} to {np.nanmean(values[-tenth:]):.2f} dB"
