"""Figures made of curves: consistency step by step, and alignment over its training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from aligncvc.evaluate.catalogue import CATALOGUE, SET_OBJECT, Metric
from aligncvc.paper.data import UPPER_BOUND, Material, curve, smooth
from aligncvc.paper.panels import Drawn
from aligncvc.paper.style import COLOURS, EMPTY, INK, MARKERS, QUIET, WIDTH_IN, method_colours, spread

SMOOTHING = 0.1
"""Moving-average window as a share of the training steps."""

TRAINING_PANELS = {
    "loss_soft": "soft alignment (ASD) loss",
    "loss_g": "hard alignment (generator) loss",
    "loss_d": "discriminator loss",
    "loss_recon": "reconstruction loss",
    "residual_psnr": "residual PSNR, dB ↑",
    "gt_psnr": "PSNR to ground truth, dB ↑",
}


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str]) -> None:
    """Names at the right ends (x, y) of lines, pushed apart vertically so that none overlap."""
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    placed = spread([y for _, y in ends.values()], 0.135 * (high - low) / inches)
    right = max(axes.get_xlim()[1], *(x for x, _ in ends.values()))
    for name, level in zip(ends, placed, strict=True):
        axes.annotate(
            name, (right, level), xytext=(3, 0), textcoords="offset points", annotation_clip=False,
            va="center", color=colours[name], size=7.5,
        )  # fmt: skip


def line_panel(
    axes: Axes,
    material: Material,
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
    for name, marker in zip(methods, cycle(MARKERS), strict=False):
        points = curve(material.of(name), metric, material.config.seed)
        if not points:
            continue
        steps = max(steps, len(points))
        xs, lead = np.arange(1, len(points) + 1), name == material.lead
        means, low, high = np.array(points).T
        axes.fill_between(xs, low, high, color=colours[name], alpha=0.14 * strength, linewidth=0)
        axes.plot(
            xs, means, color=colours[name], marker=marker, markersize=3.6, markeredgecolor="white",
            markeredgewidth=0.5, linewidth=2.0 if lead else 1.3, zorder=4 if lead else 3, alpha=strength,
        )  # fmt: skip
        levels[name] = (len(points), float(means[-1]))
    delta = metric.startswith("delta_")
    # the control's views are the ground truth, so their score against it is no level to reach
    bound = [] if delta else curve(material.of(UPPER_BOUND), metric, material.config.seed)
    if bound:
        axes.axhline(
            bound[-1].mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2, alpha=strength
        )
        levels |= {UPPER_BOUND: (steps, bound[-1].mean)} if ends else {}
    if delta:
        axes.axhline(0.0, color=QUIET, linewidth=0.6, zorder=1)
    axes.set_xlim(0.85, steps + 0.15)
    axes.set_xticks(range(1, steps + 1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.12)
    if ends and levels:
        label_ends(axes, levels, {**colours, UPPER_BOUND: INK})


ROWS = {
    "residual_": ("Residual", "generated views against renderings of the model, at the same poses"),
    "delta_": ("Delta", "the views' score minus the renderings' score, against ground truth; 0 is agreement"),
    "heldout_": (
        "Held-out",
        "one half of the views is reconstructed; its renderings against the other half, both ways",
    ),
    "split_": ("Split-half", "the two halves' reconstructions against each other, at poses of neither"),
    "kernel_lite0_": ("Kernel distance", "between sets, on EfficientNet-Lite0 features"),
    "": ("Epipolar", "matches between neighbouring views against the known cameras"),
}
"""Rows of the consistency curves by beginning of the metrics' names, with what they compare.

Frechet distances are left out: biased upward for few images; the kernel distance is not.
"""

SHORT = {
    "kernel_lite0_views": "views / truth", "kernel_lite0_renders": "renderings / truth",
    "kernel_lite0_views_renders": "views / renderings", "split_chamfer_half_sum": "Chamfer, half sum",
}  # fmt: skip

FAMILIES = ("consistency", "distribution")


def step_metrics(material: Material, methods: Sequence[str]) -> dict[str, list[Metric]]:
    """The consistency metrics that were measured at some step for one of these methods, by row."""
    measured = {r.metric for name in methods for r in material.of(name) if r.step >= 1}
    rows: dict[str, list[Metric]] = {start: [] for start in ROWS}
    for metric in CATALOGUE.values():
        skipped = metric.name == "matches" or metric.name.startswith("frechet_")
        if metric.per_step and metric.family in FAMILIES and metric.name in measured and not skipped:
            rows[next(start for start in ROWS if metric.name.startswith(start))].append(metric)
    return {start: metrics for start, metrics in rows.items() if metrics}


def panel_title(metric: Metric, start: str) -> str:
    """What the row's heading leaves to say, with the metric's arrow."""
    words = SHORT.get(metric.name, metric.heading.removeprefix(ROWS[start][0]).strip())
    return words + metric.arrow.removeprefix(metric.heading)


def consistency_curves(material: Material) -> Drawn | None:
    """Every consistency metric over the kept steps, small multiples; None if none was measured by step."""
    methods = material.compared
    rows = step_metrics(material, methods)
    if not rows:
        return None
    colours = method_colours(list(material.samples), material.lead)
    across = max(4, *map(len, rows.values()))
    tall, foot = 1.5, 0.52
    height = len(rows) * tall + foot
    figure = Figure(figsize=(WIDTH_IN, height))
    muted = []
    for row, (start, metrics) in enumerate(rows.items()):
        heading, meaning = ROWS[start]
        level = 1 - (row * tall + 0.1) / height
        figure.text(0.004, level, heading, size=8, weight="bold", va="center")
        figure.text(0.16, level, meaning, size=7.5, color=QUIET, va="center")
        for column, metric in enumerate(metrics):
            bottom = 1 - (row * tall + 1.22) / height
            axes = figure.add_axes(((column + 0.25) / across, bottom, 0.68 / across, 0.8 / height))
            weak = material.verdicts.get(metric.name) == "no"
            line_panel(axes, material, metric.name, methods, colours, faint=weak)
            axes.set_title(panel_title(metric, start), color=QUIET if weak else INK, size=7, pad=3)
            axes.tick_params(labelsize=6.5, pad=2)
            if row == len(rows) - 1:
                axes.set_xlabel("kept sampling step", size=7)
            if weak:
                muted.append(metric.heading)
                grey_out(axes)
    handles = [
        Line2D([], [], color=colours[name], marker=marker, markersize=4, label=name)
        for name, marker in zip(methods, cycle(MARKERS), strict=False)
        if material.of(name)
    ]
    if material.of(UPPER_BOUND):
        handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label=UPPER_BOUND))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7.5)
    names = [metric.heading for metrics in rows.values() for metric in metrics]
    return Drawn(
        figure,
        _curves_caption(material, methods, muted),
        f"Line charts over sampling steps of {', '.join(names)}.",
    )


def grey_out(axes: Axes) -> None:
    """Say on the panel itself that its metric tells nothing apart on this rig."""
    axes.set_facecolor(EMPTY)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.2 * (high - low))  # room for the words
    axes.text(
        0.5, 0.96, "does not discriminate", transform=axes.transAxes, ha="center", va="top", size=6.5,
        color=QUIET, style="italic", zorder=6,
    )  # fmt: skip


def _curves_caption(material: Material, methods: Sequence[str], muted: Sequence[str]) -> str:
    bound = (
        f" Dashed: the true views through the same reconstructor ({UPPER_BOUND}); a method may lie beyond it "
        "because smooth views are easier to agree with than true ones."
        if material.of(UPPER_BOUND)
        else ""
    )
    grey = (
        f" Grey: does not rank the controls GT > jittered > shuffled on this rig ({', '.join(muted)})."
        if muted
        else ""
    )
    return (
        f"Every consistency metric after each kept sampling step: means over {counted(material, methods)}, "
        "bands: 95 % bootstrap over objects and seeds. Arrows say which way is better."
        f"{bound}{grey} Two-stage sampling is observed at up to four of its steps."
    )


def counted(material: Material, methods: Sequence[str]) -> str:
    """How many objects and seeds stand behind the numbers of these methods."""
    found = {(r.object, r.seed) for n in methods for r in material.of(n) if r.object != SET_OBJECT}
    objects, seeds = len({name for name, _ in found}), len({seed for _, seed in found})
    return f"{objects} object{'s' * (objects != 1)} and {seeds} seed{'s' * (seeds != 1)}"


def training(logs: Mapping[str, Mapping[str, np.ndarray]]) -> Drawn | None:
    """Losses and PSNR over the steps of each alignment run (name -> columns); None without a log."""
    panels = [key for key in TRAINING_PANELS if any(_has(log, key) for log in logs.values())]
    if not panels:
        return None
    colours = _run_colours(list(logs))
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(WIDTH_IN, 0.35 + 1.75 * down))
    grid = figure.subplots(down, across, squeeze=False)
    figure.subplots_adjust(
        left=0.06, right=0.93, top=1 - 0.28 / (0.35 + 1.75 * down), bottom=0.4 / (0.35 + 1.75 * down),
        wspace=0.42, hspace=0.5,
    )  # fmt: skip
    for axes, key in zip(grid.flat, panels, strict=False):
        _training_panel(axes, key, logs, colours)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(panels) - across) : len(panels)]:
        axes.set_xlabel("training step")
    facts = "; ".join(f"{name}: {_change(log)}" for name, log in logs.items())
    caption = (
        f"Alignment over its training steps: each step (faint) and its moving average over {SMOOTHING:.0%} "
        f"of the run. Values scatter because each step trains one of the sampler's steps, drawn at random. "
        f"Residual PSNR between the first and the last tenth of the steps, {facts}."
    )
    shown = ", ".join(TRAINING_PANELS[key] for key in panels)
    return Drawn(figure, caption, f"Curves over training steps of {', '.join(logs)}: {shown}.")


def _has(log: Mapping[str, np.ndarray], key: str) -> bool:
    return key in log and not bool(np.isnan(log[key]).all())


def _run_colours(names: Sequence[str]) -> dict[str, str]:
    return method_colours(names, "both") if "both" in names else dict(zip(names, COLOURS, strict=False))


def _training_panel(
    axes: Axes, key: str, logs: Mapping[str, Mapping[str, np.ndarray]], colours: Mapping[str, str]
) -> None:
    ends = {}
    for name, log in logs.items():
        if not _has(log, key):
            continue
        steps, values = log["step"] + 1, log[key]
        average = smooth(values, _window(values))
        axes.plot(steps, values, color=colours[name], linewidth=0.6, alpha=0.25)
        axes.plot(steps, average, color=colours[name], linewidth=1.8)
        ends[name] = (float(steps[-1]), float(average[~np.isnan(average)][-1]))
    axes.set_title(TRAINING_PANELS[key], color=QUIET, size=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.01)
    label_ends(axes, ends, colours)


def _window(values: np.ndarray) -> int:
    return max(1, round(SMOOTHING * len(values)))


def _change(log: Mapping[str, np.ndarray]) -> str:
    if not _has(log, "residual_psnr"):
        return "not logged"
    values = log["residual_psnr"]
    window = _window(values)
    return f"{np.nanmean(values[:window]):.2f} to {np.nanmean(values[-window:]):.2f} dB"
