"""Alignment over its training steps: curves of the logs of a pair's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aligncvc.paper.pair_results import Log, PairResults
from aligncvc.paper.style import QUIET, SETTINGS, Drawn, chart, label_ends, method_colours

SMOOTHING = 0.1
"""Moving-average window as a share of the longest run's training steps."""

Panels = Mapping[str, Sequence[str]]
"""Columns by title; a second one is drawn dashed."""

LOSSES: Panels = SETTINGS["losses"]
EFFECTS: Panels = SETTINGS["effects"]
"""What tells whether post-training works: the verdict's panels."""


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
        axes.set_title(title, color=QUIET, size=7.5)
        _panel(axes, keys, logs, colours, window)
    for i, axes in enumerate(grid.flat):
        axes.set_visible(i < len(shown))
        if len(shown) - across <= i < len(shown):
            axes.set_xlabel("training step")
    facts = "; ".join(f"{name}: {_change(log)}" for name, log in logs.items())
    dashed = (
        "Of the discriminator's logits the dashed line is that of renderings: where the two meet, it cannot "
        "tell them apart. "
    )
    caption = (
        f"Alignment over its training steps: each step (faint) and its moving average over {SMOOTHING:.0%} "
        "of the run. Values scatter because each step trains one of the sampler's steps, drawn at random. "
        f"{dashed if any(len(keys) > 1 for keys in shown.values()) else ''}"
        f"Residual PSNR between the first and the last tenth of the steps, {facts}."
    )
    return Drawn(figure, caption, f"Curves over training steps of {', '.join(logs)}: {', '.join(shown)}.")


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
