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
    right = max(x for x, _ in ends.values())
    for name, level in zip(ends, placed, strict=True):
        axes.annotate(
            name, (right, level), xytext=(5, 0), textcoords="offset points", annotation_clip=False,
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
    bound = curve(material.of(UPPER_BOUND), metric, material.config.seed)
    if bound:
        axes.axhline(
            bound[-1].mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2, alpha=strength
        )
        levels |= {UPPER_BOUND: (steps, bound[-1].mean)} if ends else {}
    if metric.startswith("delta_"):
        axes.axhline(0.0, color=QUIET, linewidth=0.6, zorder=1)
    axes.set_xlim(0.85, steps + 0.15)
    axes.set_xticks(range(1, steps + 1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.12)
    if ends and levels:
        label_ends(axes, levels, {**colours, UPPER_BOUND: INK})


CURVE_FAMILIES = ("consistency", "distribution")
COLUMNS = 4
BIASED = "frechet_"
"""Left out of the curves: biased upward for few images; the kernel distance beside it is not."""


def step_metrics(material: Material, methods: Sequence[str]) -> list[Metric]:
    """The consistency metrics that were measured at some step for one of these methods."""
    measured = {r.metric for name in methods for r in material.of(name) if r.step >= 1}
    return [
        metric
        for metric in CATALOGUE.values()
        if metric.per_step and metric.family in CURVE_FAMILIES and metric.name in measured
        and metric.name != "matches" and not metric.name.startswith(BIASED)
    ]  # fmt: skip


def consistency_curves(material: Material) -> Drawn | None:
    """Every consistency metric over the kept steps, small multiples; None if none was measured by step."""
    methods = material.compared
    metrics = step_metrics(material, methods)
    if not metrics:
        return None
    colours = method_colours(list(material.samples), material.lead)
    across = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // across)
    tall, foot = 1.42, 0.62
    height = rows * tall + foot
    figure = Figure(figsize=(WIDTH_IN, height))
    cell = 1 / across
    muted = []
    for i, metric in enumerate(metrics):
        row, column = divmod(i, across)
        box = (column * cell + 0.058, 1 - (row * tall + 1.2) / height, cell - 0.076, 0.93 / height)
        axes = figure.add_axes(box)
        weak = material.verdicts.get(metric.name) == "no"
        line_panel(axes, material, metric.name, methods, colours, faint=weak)
        axes.set_title(metric.arrow, color=QUIET if weak else INK, size=7, x=-0.1, pad=4)
        axes.tick_params(labelsize=6.5)
        if weak:
            muted.append(metric.heading)
            axes.set_facecolor(EMPTY)
            axes.text(
                0.5, 0.04, "does not discriminate", transform=axes.transAxes, ha="center", size=6.5,
                color=QUIET, style="italic", zorder=6,
            )  # fmt: skip
        if i + across >= len(metrics):
            axes.set_xlabel("kept sampling step", size=7)
    handles = [
        Line2D([], [], color=colours[name], marker=marker, markersize=4, label=name)
        for name, marker in zip(methods, cycle(MARKERS), strict=False)
    ]
    if material.of(UPPER_BOUND):
        handles.append(Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label=UPPER_BOUND))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7.5)
    grey = (
        f" Grey: does not rank the controls GT > jittered > shuffled on this rig ({', '.join(muted)})."
        if muted
        else ""
    )
    caption = (
        f"Every consistency metric after each kept sampling step: means over {counted(material, methods)}, "
        "bands: 95 % bootstrap over objects and seeds. Arrows say which way is better; dashed: the "
        f"true views through the same reconstructor ({UPPER_BOUND}).{grey} Residual: generated views against "
        "renderings at the same poses. Delta: views' score minus renderings' score, against ground truth; 0 "
        "is agreement. Held-out: against poses that were not given to the reconstructor. Split-half: two "
        "reconstructions from disjoint halves of the views against each other. Kernel distance "
        "(EfficientNet-Lite0 features): between sets. Two-stage sampling is observed at up to "
        "four of its steps."
    )
    alt = f"Line charts over sampling steps of {', '.join(m.heading for m in metrics)}."
    return Drawn(figure, caption, alt)


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
