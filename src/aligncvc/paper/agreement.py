"""The paper's Figure 3: generated views over renderings of their reconstruction, first step and last."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.patches import Rectangle
from scipy.ndimage import find_objects, label, uniform_filter

from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.paper.curves import line_panel
from aligncvc.paper.image_figures import Sheet
from aligncvc.paper.pair_results import PairResults, Steps
from aligncvc.paper.style import INK, LEAD_COLOUR, QUIET, WIDTH_IN, Drawn, captioned, method_colours, show
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import at_common_size

APART = 0.15
"""Mean absolute difference of the colour channels above which two pixels disagree ..."""
SMALLEST = 0.005
"""... and the share of the image that a region of them must cover to be marked."""
WINDOW = 3 / 64
"""Side of the box that differences are averaged over first, as a share of the image's: single pixels pass."""

BOX_COLOUR = "#d62728"

CURVES = ("residual_psnr", "heldout_psnr")

LABELS_IN = 0.98

Box = tuple[float, float, float, float]
"""left, top, width, height as shares of the image's sides."""


def disagreement(view: np.ndarray, render: np.ndarray) -> Box | None:
    """The box around the largest connected region in which two images (H, W, 3) in [0, 1] disagree.

    Pixels disagree if their mean absolute difference, averaged over a small window, is above APART; regions
    are connected through sides and corners. None if the largest covers less than SMALLEST of the image.
    """
    height, width = view.shape[:2]
    gap = uniform_filter(np.abs(view.astype(np.float64) - render).mean(-1), max(1, round(WINDOW * height)))
    regions, count = label(gap > APART, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=2)[1:]
    if not count or sizes.max() < SMALLEST * gap.size:
        return None
    y, x = find_objects(regions)[int(sizes.argmax())]
    return x.start / width, y.start / height, (x.stop - x.start) / width, (y.stop - y.start) / height


def alike(views: np.ndarray, renders: np.ndarray) -> Steps:
    """Kept steps (K, V, H, W, 3) at the smaller size of the two, by the rule of `views.at_common_size`."""
    stacks = at_common_size(*(torch.from_numpy(s).movedim(-1, -3) for s in (views, renders)))
    small = [stack.movedim(-3, -1).numpy() for stack in stacks]
    return small[0], small[1]


def agreement(pair: PairResults) -> Drawn | None:
    """Two rows for the two-stage baseline and two for the lead; None if no object shown has both."""
    names = list(dict.fromkeys(name for name in (pair.baseline, pair.lead) if name is not None))
    posed = next((p for p in pair.showcase if all(pair.steps(name, p) for name in names)), None)
    if posed is None:
        return None
    count, between = len(posed.rig_cameras), 0.16
    cell = min((WIDTH_IN - LABELS_IN - between) / (2 * count), 0.95)
    width = LABELS_IN + 2 * count * cell + between
    block = 0.42 + 2 * cell + 0.1
    curves = [m for m in CURVES if any(m in pair.scores.metrics(pair.key(name)) for name in names)]
    top = len(names) * block
    sheet = Sheet(width, top + (2.0 if curves else 0.0))
    changes = [_method(sheet, pair, posed, name, i * block, (cell, between)) for i, name in enumerate(names)]
    span = (width - LABELS_IN) / max(1, len(curves))
    colours = method_colours(list(pair.samples), pair.lead)
    for i, metric in enumerate(curves):
        axes = sheet.axes(LABELS_IN + i * span, top + 0.34, span * 0.58, 1.25)
        line_panel(axes, pair, metric, names, colours, ends=True)
        axes.set_xlabel("kept sampling step")
        axes.set_title(f"{CATALOGUE[metric].arrow}, dB", color=QUIET, size=7.5)
    facts = {
        "name": pair.label(posed), "count": count, "apart": f"{APART:g}", "window": f"{WINDOW:.0%}",
        "smallest": f"{SMALLEST:.1%}", "changes": changes, "headings": [CATALOGUE[m].heading for m in curves],
    }  # fmt: skip
    return captioned(sheet.figure, "agreement", pair=pair, **facts)


def _method(
    sheet: Sheet, pair: PairResults, posed: PosedObject, name: str, top: float, sizes: tuple[float, float]
) -> str:
    """Two rows of images at the first and the last step; returns the residuals in words.

    sizes: side of a cell and the gap between the two steps, inches.
    """
    steps, (cell, between) = pair.steps(name, posed), sizes
    assert steps is not None
    views, renders = alike(*steps)
    count, last = views.shape[1], len(views) - 1
    row = pair.rows[name]
    kind = pair.loop(name) + (" sampling" if row.feedback != "two_stage" else "")
    kind += f", {row.steps} denoising steps" + (f", aligned ({row.run})" if row.run else "")
    colour = LEAD_COLOUR if name == pair.lead else INK
    end = sheet.text(0, top + 0.09, name, size=8, weight="bold", color=colour)
    sheet.text(max(LABELS_IN, end + 0.1), top + 0.09, kind, size=7.5, color=colour)
    for i, text in enumerate(("generated\nviews", "renderings of\nthe model")):
        sheet.text(0, top + 0.42 + (i + 0.5) * cell, text, color=INK, size=7)
    residuals = []
    for half, k in enumerate(dict.fromkeys((0, last))):
        left = LABELS_IN + half * (count * cell + between)
        right, level = left + count * cell, top + 0.27
        value = pair.residual(name, posed, k + 1)
        residuals.append("n/a" if math.isnan(value) else f"{value:.1f} dB")
        title = f"{'first' if k == 0 else 'last'} step ({k + 1} of {last + 1} kept)"
        sheet.text(left, level, title, color=QUIET, size=7.5)
        sheet.text(right, level, f"residual {residuals[-1]}", ha="right", size=7.5, color=INK)
        sheet.rule(left, right, top + 0.36)
        for v in range(count):
            box = disagreement(views[k, v], renders[k, v])
            for i, stack in enumerate((views, renders)):
                axes = sheet.axes(left + v * cell, top + 0.42 + i * cell, cell - 0.02, cell - 0.02)
                show(axes, stack[k, v])
                if box is not None:
                    x, y, width, height = box
                    frame = Rectangle(
                        (x, 1 - y - height), width, height, transform=axes.transAxes, fill=False,
                        edgecolor=BOX_COLOUR, linewidth=1.1, clip_on=False, zorder=5,
                    )  # fmt: skip
                    axes.add_patch(frame)
    return f"{name} {' to '.join(residuals)}"
