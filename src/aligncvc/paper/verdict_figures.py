"""Pictures of the verdict: held-out objects, residuals over the steps, quality over K, curves of training."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.evaluate.records import FINAL_STEP
from aligncvc.evaluate.stats import Interval
from aligncvc.files import atomic_path
from aligncvc.paper.charts import SMOOTHING, counted, line_panel
from aligncvc.paper.data import Material, azimuth_deg, last_step, measured, smooth, truth
from aligncvc.paper.dots import families
from aligncvc.paper.panels import Drawn, chosen_objects, image_grid
from aligncvc.paper.style import COLOURS, INK, LEAD_COLOUR, MARKERS, QUIET, WIDTH_IN, method_colours
from aligncvc.scene.renderset import PosedObject

DPI = 150
COLOURS_KEPT = 256
"""Palette of the pictures: a third of the bytes, and no difference that the eye sees."""

SHEET_METHODS = ("two_stage_50", "aware_4", "aligncvc_4")
STEP_METRICS = ("residual_psnr", "heldout_psnr", "views_psnr")
K_METRICS = ("psnr", "lpips", "residual_psnr")

TRAINING = {
    "discriminator logits, true and rendered": ("d_real", "d_fake"),
    "residual PSNR, dB ↑": ("residual_psnr",),
    "PSNR to ground truth, dB ↑": ("gt_psnr",),
    "ASD: student's distance from teacher's x0": ("asd_distance",),
    "Fréchet distance, student to teacher": ("fd_student_teacher",),
    "Fréchet distance, student to truth": ("fd_student_gt",),
}
"""Panels of the training curves: keys of metrics.jsonl; a second key is drawn dashed."""


def save_png(folder: Path, name: str, figure: Figure) -> str:
    """Write `<folder>/<name>.png` with a palette, without dates; returns the file's name."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    image = Image.open(buffer).convert("RGB").quantize(COLOURS_KEPT, dither=Image.Dither.NONE)
    with atomic_path(folder / f"{name}.png") as temporary:
        image.save(temporary, format="PNG", optimize=True)
    return f"{name}.png"


def pictures(material: Material, logs: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[tuple[str, Drawn]]:
    """Each picture that the data allow, with its name; to be drawn inside `style.styled`."""
    yield "objects", objects(material)
    for name, drawn in (
        ("steps", steps(material)),
        ("k", over_k(material)),
        ("training", training(logs)),
    ):
        if drawn is not None:
            yield name, drawn


def objects(material: Material) -> Drawn:
    """Rows: drawn objects. Columns: the input, true views, and of each method its views and renderings."""
    first = material.showcase[0]
    shown = first.rig[1:3]
    angles = [f"{azimuth_deg(first, view):g}°" for view in shown]
    methods = [name for name in SHEET_METHODS if name in material.samples] or [material.lead]
    titles = [*(f"v {a}" for a in angles), *(f"r {a}" for a in angles)]
    groups = [("", ["input"]), ("truth", angles), *((name, titles) for name in methods)]
    rows = [(material.label(posed), list(_cells(material, posed, methods))) for posed in material.showcase]
    caption = (
        f"Held-out objects: the input, true views at {' and '.join(angles)}, and after the last step of each "
        "method its generated views (v) and the renderings of the model made from them (r) at the same "
        f"poses. {chosen_objects(material)}; sampling seed {material.seed}."
    )
    return Drawn(image_grid(groups, rows), caption, f"{len(rows)} objects with {', '.join(methods)}.")


def _cells(material: Material, posed: PosedObject, methods: Sequence[str]) -> Iterator[np.ndarray | None]:
    yield truth(posed, posed.rig[0])
    yield from (truth(posed, view) for view in posed.rig[1:3])
    columns = range(1, min(3, len(posed.rig)))
    for name in methods:
        found = material.steps(name, posed)
        for stack in (None, None) if found is None else found:
            yield from (None if stack is None else stack[-1, v] for v in columns)


def steps(material: Material) -> Drawn | None:
    """Residual, held-out consistency and the views' quality after each kept step; None without records."""
    methods = [n for n in material.config.evaluate.curves if n in material.samples]
    shown = [m for m in STEP_METRICS if any(last_step(material.of(n), m) > 0 for n in methods)]
    if not shown:
        return None
    colours = method_colours(methods, material.lead)
    sampled = {name: material.of(name) for name in methods}
    figure = Figure(figsize=(WIDTH_IN, 2.3))
    for i, metric in enumerate(shown):
        axes = figure.add_axes((0.05 + i / len(shown), 0.3, 0.8 / len(shown), 0.56))
        # against ground truth the true views score the cap, which is no level to reach
        seen = replace(material, records=sampled) if metric.startswith("views_") else material
        line_panel(axes, seen, metric, methods, colours)
        axes.set_title(f"{CATALOGUE[metric].arrow}, dB", color=QUIET, size=7.5)
        axes.set_xlabel("kept sampling step")
    handles = [
        Line2D([], [], color=colours[n], marker=m, markersize=4, label=n)
        for n, m in zip(methods, MARKERS, strict=False)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7.5)
    caption = (
        "After each kept sampling step: do generated views agree with the renderings of their model "
        "(residual), do halves of the views agree with each other (held-out), and are the views right? "
        f"Means over {counted(material, methods)}, bands: 95 % bootstrap. Dashed: the true views through the "
        "same reconstructor. Two-stage sampling is observed at four of its steps."
    )
    return Drawn(figure, caption, f"Line charts of {', '.join(shown)} over sampling steps.")


def over_k(material: Material) -> Drawn | None:
    """Quality and agreement for every number of steps K, a line for each alignment; None without records."""
    groups = {k: v for k, v in families(material).items() if len(v) > 1 and not k.startswith("two-stage")}
    seed, table = material.config.seed, material.config.sample.methods
    if not groups:
        return None
    figure = Figure(figsize=(WIDTH_IN, 2.5))
    names = list(groups)
    others = [name for name in names if material.lead not in groups[name]]
    colours = {n: LEAD_COLOUR if n not in others else COLOURS[others.index(n) % len(COLOURS)] for n in names}
    for i, metric in enumerate(K_METRICS):
        axes = figure.add_axes((0.05 + i / 3, 0.36, 0.8 / 3, 0.52))
        axes.set_xscale("log", base=2)
        ks: set[int] = set()
        for (label, group), marker in zip(groups.items(), MARKERS, strict=False):
            points = [(table[n].steps, _last(material, n, metric, seed)) for n in group]
            points = [(k, value) for k, value in points if not math.isnan(value[0])]
            ks |= {k for k, _ in points}
            # side by side, so that intervals can be told apart
            xs = [k * 2 ** (0.06 * (names.index(label) - len(names) / 2)) for k, _ in points]
            axes.plot(xs, [v[0] for _, v in points], color=colours[label], marker=marker, markersize=3.5,
                      linewidth=1.9 if label not in others else 1.1)  # fmt: skip
            for x, (_, value) in zip(xs, points, strict=True):
                axes.plot((x, x), value[1:], color=colours[label], linewidth=0.8, alpha=0.7)
        if material.baseline is not None:
            level = _last(material, material.baseline, metric, seed)[0]
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        axes.set_xticks(sorted(ks), [str(k) for k in sorted(ks)])
        axes.minorticks_off()
        axes.set_title(CATALOGUE[metric].arrow, color=QUIET, size=7.5)
        axes.set_xlabel("steps K")
    handles = [
        Line2D([], [], color=colours[n], marker=m, markersize=4, label=n)
        for n, m in zip(names, MARKERS, strict=False)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=7)
    caption = (
        "Table 2 as curves: quality of the final model and agreement after the last step for K = "
        f"{', '.join(map(str, sorted(ks)))}; bars: 95 % bootstrap intervals of each mean (paired differences "
        f"are narrower and stand in the tables). Dashed: {material.baseline}."
    )
    return Drawn(figure, caption, f"Line charts of {', '.join(K_METRICS)} over K for {', '.join(names)}.")


def _last(material: Material, name: str, metric: str, seed: int) -> Interval:
    """A metric after the last step with its interval."""
    records = material.of(name)
    step = last_step(records, metric) if CATALOGUE[metric].per_step else FINAL_STEP
    return measured(records, metric, step, seed)


def training(logs: Mapping[str, Mapping[str, np.ndarray]]) -> Drawn | None:
    """What tells whether post-training works, over its steps; None without a log."""
    panels = {
        title: keys
        for title, keys in TRAINING.items()
        if any(_known(log, key) for log in logs.values() for key in keys)
    }
    if not panels:
        return None
    colours = method_colours(list(logs), "both") if "both" in logs else dict(zip(logs, COLOURS, strict=False))
    down = -(-len(panels) // 3)
    height = 0.55 + 1.75 * down
    figure = Figure(figsize=(WIDTH_IN, height))
    grid = figure.subplots(down, 3, squeeze=False)
    figure.subplots_adjust(
        left=0.06, right=0.99, top=1 - 0.25 / height, bottom=0.65 / height, wspace=0.3, hspace=0.45
    )
    longest = max(len(log["step"]) for log in logs.values())
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, keys) in zip(grid.flat, panels.items(), strict=False):
        for name, log in logs.items():
            for key, dashes in zip(keys, ("-", (0, (3, 2))), strict=False):
                if not _known(log, key):
                    continue
                known = ~np.isnan(log[key])
                xs, values = log["step"][known] + 1, log[key][known]
                # what is logged at few steps is drawn as it is
                dense = len(values) > len(log["step"]) / 4
                # one window for all runs, so that a short one is no noisier than the others
                window = max(1, min(len(values), round(SMOOTHING * longest)))
                line = smooth(values, window) if dense else values
                axes.plot(xs, line, color=colours[name], linestyle=dashes, linewidth=1.4)
        axes.set_title(title, color=QUIET, size=7)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.01)
    handles = [Line2D([], [], color=colours[name], label=name) for name in logs]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=7.5)
    caption = (
        f"Post-training over its steps, moving averages over {SMOOTHING:.0%} of the longest run (distances "
        "that are logged now and then as they are). Of the discriminator's logits the dashed line is that of "
        "renderings: where the two meet, it cannot tell them apart."
    )
    return Drawn(figure, caption, f"Curves of training: {', '.join(panels)}.")


def _known(log: Mapping[str, np.ndarray], key: str) -> bool:
    return key in log and not bool(np.isnan(log[key]).all())
