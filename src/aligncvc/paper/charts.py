"""Figures made of curves: consistency step by step, and alignment over its training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aligncvc.paper.data import Material, bootstrap, by_object, last_step, smooth
from aligncvc.paper.panels import Drawn
from aligncvc.paper.style import COLOURS, MARKERS, QUIET, WIDTH_IN, method_colours, spread

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


def cvc_curve(material: Material) -> Drawn | None:
    """residual_psnr at each kept step, a line a method with its 95 % band; None without such records."""
    curves: dict[str, list[tuple[float, tuple[float, float] | None]]] = {}
    objects: set[str] = set()
    for name in material.samples:
        records = material.records.get(name, [])
        points = []
        for step in range(1, last_step(records, "residual_psnr") + 1):
            values = by_object(records, "residual_psnr", step)
            if values:
                objects |= values.keys()
                interval = bootstrap(list(values.values()), material.config.seed, "cvc_curve", name, step)
                points.append((float(np.mean(list(values.values()))), interval))
        if points:
            curves[name] = points
    if not curves:
        return None
    figure = Figure(figsize=(WIDTH_IN * 0.72, 3.1))
    axes = figure.add_axes((0.1, 0.14, 0.68, 0.74))
    colours = method_colours(list(material.samples), material.lead)
    banded = False
    shapes = dict(
        zip([material.lead, *(n for n in curves if n != material.lead)], cycle(MARKERS), strict=False)
    )
    for name, points in curves.items():
        xs, lead = np.arange(1, len(points) + 1), name == material.lead
        if all(interval for _, interval in points):
            low, high = np.array([interval for _, interval in points]).T
            axes.fill_between(xs, low, high, color=colours[name], alpha=0.13, linewidth=0)
            banded = True
        axes.plot(
            xs, [value for value, _ in points], color=colours[name], marker=shapes[name],
            markeredgecolor="white", markeredgewidth=0.6, linewidth=2.4 if lead else 1.6,
            zorder=4 if lead else 3,
        )  # fmt: skip
    steps = max(map(len, curves.values()))
    axes.set_xlim(0.9 if steps > 1 else 0.5, steps + 0.05 if steps > 1 else 1.5)
    axes.set_xticks(range(1, steps + 1))
    axes.set_xlabel("kept sampling step")
    axes.set_title("Generated views against renderings at the same pose, PSNR in dB ↑", color=QUIET, pad=8)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    label_ends(axes, {n: (len(p), p[-1][0]) for n, p in curves.items()}, colours)
    ends = "; ".join(f"{name} {_interval(*points[-1])}" for name, points in curves.items())
    band = "bands: 95 % bootstrap over objects" if banded else "one object, so no band"
    caption = (
        "Cross-view consistency along sampling: PSNR in dB between generated views and renderings of the "
        f"reconstructed model at the same poses, mean over {len(objects)} object"
        f"{'s' * (len(objects) != 1)} and {len(material.config.seeds)} seed"
        f"{'s' * (len(material.config.seeds) != 1)} ({band}; higher is more consistent). "
        f"At the last step: {ends}. Two-stage sampling is observed at up to four of its steps."
    )
    return Drawn(
        figure, caption, f"Line chart of residual PSNR over sampling steps. At the last step: {ends}."
    )


def _interval(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.2f}" + ("" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]")


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
