"""The paper's Figure 3: generated views over renderings of their reconstruction, first step and last."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from scipy.ndimage import find_objects, label, uniform_filter

from aligncvc.evaluate.catalogue import CATALOGUE
from aligncvc.paper.charts import line_panel
from aligncvc.paper.data import Material, Steps
from aligncvc.paper.panels import Drawn, Sheet
from aligncvc.paper.style import INK, LEAD_COLOUR, MARK, QUIET, WIDTH_IN, method_colours, show
from aligncvc.scene.renderset import PosedObject
from aligncvc.scene.views import at_common_size

APART = 0.15
"""Mean absolute difference of the colour channels above which two pixels disagree ..."""
SMALLEST = 0.005
"""... and the share of the image that a region of them must cover to be marked."""
WINDOW = 3 / 64
"""Side of the box that differences are averaged over first, as a share of the image's: single pixels pass."""

CURVES = ("residual_psnr", "heldout_psnr")

LABELS_IN = 0.86

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
    rows, columns = find_objects(regions)[int(sizes.argmax())]
    return (
        columns.start / width,
        rows.start / height,
        (columns.stop - columns.start) / width,
        (rows.stop - rows.start) / height,
    )


def alike(views: np.ndarray, renders: np.ndarray) -> Steps:
    """Kept steps (K, V, H, W, 3) at the smaller size of the two, by the rule of `views.at_common_size`."""
    stacks = at_common_size(*(torch.from_numpy(s).movedim(-1, -3) for s in (views, renders)))
    small = [stack.movedim(-3, -1).numpy() for stack in stacks]
    return small[0], small[1]


def mark(axes: Axes, box: Box | None) -> None:
    """Draw a box over an image."""
    if box is not None:
        left, top, width, height = box
        axes.add_patch(
            Rectangle(
                (left, 1 - top - height),
                width,
                height,
                transform=axes.transAxes,
                fill=False,
                edgecolor=MARK,
                linewidth=1.1,
                clip_on=False,
                zorder=5,
            )
        )


def decibels(value: float) -> str:
    """A residual for print."""
    return "n/a" if math.isnan(value) else f"{value:.1f} dB"


def agreement(material: Material) -> Drawn | None:
    """Two rows for the two-stage baseline and two for the lead; None if no object shown has both."""
    names = [n for n in (material.baseline, material.lead) if n is not None]
    names = list(dict.fromkeys(names))
    found = next((posed for posed in material.showcase if all(material.steps(n, posed) for n in names)), None)
    if found is None:
        return None
    count = len(found.rig)
    between = 0.16
    cell = min((WIDTH_IN - LABELS_IN - between) / (2 * count), 0.95)
    width = LABELS_IN + 2 * count * cell + between
    block = 0.42 + 2 * cell + 0.1
    curves = [m for m in CURVES if any(r.metric == m for n in names for r in material.of(n))]
    top = len(names) * block
    sheet = Sheet(width, top + (2.0 if curves else 0.0))
    words = [_method(sheet, material, found, name, i * block, cell, between) for i, name in enumerate(names)]
    span = (width - LABELS_IN) / max(1, len(curves))
    colours = method_colours(list(material.samples), material.lead)
    for i, metric in enumerate(curves):
        axes = sheet.axes(LABELS_IN + i * span, top + 0.34, span * 0.58, 1.25)
        line_panel(axes, material, metric, names, colours, ends=True)
        axes.set_xlabel("kept sampling step")
        axes.set_title(f"{CATALOGUE[metric].arrow}, dB", color=QUIET, size=7.5)
    caption = (
        f"Do the generated views agree with the 3D model made from them? {material.label(found)}, sampling "
        f"seed {material.seed}: the {count} generated views of a step over the renderings of the model that "
        "was reconstructed from them, at the same poses, after the first and the last kept step. Boxes, by "
        f"rule: the largest connected region whose mean absolute difference exceeds {APART:g} (window "
        f"of {WINDOW:.0%} of the side), where it covers {SMALLEST:.1%} of the image or more. "
        f"Residual PSNR, first to last: {'; '.join(words)}. {_curve_words(curves)}"
        "The first of the drawn objects, not chosen by result."
    )
    alt = (
        f"Generated views over renderings of {material.label(found)}; residual PSNR from the first to the "
        f"last step: {'; '.join(words)}."
    )
    return Drawn(sheet.figure, caption, alt)


def _curve_words(curves: list[str]) -> str:
    if not curves:
        return ""
    headings = " and ".join(CATALOGUE[m].heading for m in curves)
    return f"Below: {headings} over the steps, means over all objects with 95 % bootstrap bands. "


def _method(
    sheet: Sheet, material: Material, posed: PosedObject, name: str, top: float, cell: float, between: float
) -> str:
    """Two rows of images at the first and the last step; returns the residuals in words."""
    steps = material.steps(name, posed)
    assert steps is not None
    views, renders = alike(*steps)
    count, last = views.shape[1], len(views) - 1
    lead = name == material.lead
    method = material.config.sample.methods[name]
    kind = "two-stage" if method.sampler == "two_stage" else "3D-aware sampling"
    kind += f", {method.steps} denoising steps" + (f", aligned ({method.run})" if method.run else "")
    colour = LEAD_COLOUR if lead else INK
    sheet.text(0, top + 0.09, name, va="center", size=8, weight="bold", color=colour)
    sheet.text(LABELS_IN, top + 0.09, kind, va="center", size=7.5, color=colour)
    lines = ("generated\nviews", "renderings of\nthe model")
    for row, text in enumerate(lines):
        sheet.text(0, top + 0.42 + (row + 0.5) * cell, text, va="center", color=INK, size=7)
    residuals = []
    for half, k in enumerate(dict.fromkeys((0, last))):
        left = LABELS_IN + half * (count * cell + between)
        residuals.append(decibels(material.residual(name, posed, k + 1)))
        title = "first step" if k == 0 else "last step"
        sheet.text(
            left, top + 0.27, f"{title} ({k + 1} of {last + 1} kept)", va="center", color=QUIET, size=7.5
        )
        right = left + count * cell
        sheet.text(
            right, top + 0.27, f"residual {residuals[-1]}", va="center", ha="right", size=7.5, color=INK
        )
        sheet.rule(left, right, top + 0.36)
        for v in range(count):
            box = disagreement(views[k, v], renders[k, v])
            for row, stack in enumerate((views, renders)):
                axes = sheet.axes(left + v * cell, top + 0.42 + row * cell, cell - 0.02, cell - 0.02)
                show(axes, stack[k, v])
                mark(axes, box)
    return f"{name} {' to '.join(residuals)}"
