"""Figures made of images: teaser, consistency strip, qualitative comparison."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aligncvc.paper.data import Material, azimuth_deg, held_out_view, truth
from aligncvc.paper.style import FAINT, INK, LEAD_COLOUR, QUIET, WIDTH_IN, show
from aligncvc.renderset import PosedObject

LABEL_IN = 0.8
"""Width of the column of object names, inches."""
HEAD_IN = 0.42
GAP_IN = 0.03


@dataclass(frozen=True)
class Drawn:
    """A figure with the words that go with it."""

    figure: Figure
    caption: str
    alt: str


class Sheet:
    """A figure laid out in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """An axes whose top left corner is at (x, y)."""
        box = (
            x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height,
        )  # fmt: skip
        return self.figure.add_axes(box)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Words at (x, y)."""
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)

    def rule(self, x0: float, x1: float, y: float, colour: str = QUIET) -> None:
        """A thin horizontal line."""
        xs, level = (x0 / self.width, x1 / self.width), 1 - y / self.height
        self.figure.add_artist(Line2D(xs, (level, level), color=colour, linewidth=0.7))


def object_label(name: str) -> str:
    """An object's id broken at its hyphens into short lines."""
    return "\n".join(textwrap.wrap(name.replace("_", "_ "), 15, break_long_words=True)).replace("_ ", "_")


def image_grid(
    groups: Sequence[tuple[str, Sequence[str]]],
    rows: Sequence[tuple[str, Sequence[np.ndarray | None]]],
    lead: str = "",
) -> Figure:
    """Rows of images under headed groups of columns.

    groups: (heading, column titles); rows: (object id, its images in column order). `lead`: the title that
    is set in the strong colour.
    """
    titles = [title for _, columns in groups for title in columns]
    breaks = 0.09 * (len(groups) - 1)
    cell = (WIDTH_IN - LABEL_IN - breaks) / len(titles) - GAP_IN
    cell = min(cell, 1.15)
    width = LABEL_IN + breaks + len(titles) * (cell + GAP_IN)
    sheet = Sheet(width, HEAD_IN + len(rows) * (cell + GAP_IN) + 0.02)
    lefts, x = [], LABEL_IN
    for heading, columns in groups:
        start = x
        for _ in columns:
            lefts.append(x)
            x += cell + GAP_IN
        if heading:
            sheet.text(
                (start + x - GAP_IN) / 2, 0.13, heading, ha="center", va="center", color=QUIET, size=7.5
            )
            sheet.rule(start, x - GAP_IN, 0.225)
        x += 0.09
    for left, title in zip(lefts, titles, strict=True):
        strong = title == lead
        sheet.text(
            left + cell / 2, 0.32, title, ha="center", va="center", size=7.5,
            color=LEAD_COLOUR if strong else INK, weight="bold" if strong else "normal",
        )  # fmt: skip
    for i, (name, images) in enumerate(rows):
        top = HEAD_IN + i * (cell + GAP_IN)
        if i:
            sheet.rule(0.04, width - GAP_IN, top - GAP_IN / 2, FAINT)
        sheet.text(0.04, top + cell / 2, object_label(name), va="center", color=QUIET, size=6.2)
        for left, image in zip(lefts, images, strict=True):
            show(sheet.axes(left, top, cell, cell), image)
    return sheet.figure


def _objects(material: Material) -> str:
    """How the shown objects were picked."""
    count, total = len(material.showcase), len(material.renders)
    if count == total:
        return f"All {total} objects of the set"
    return f"The first {count} of {total} objects in the manifest's order (not chosen by result)"


def _degrees(posed: PosedObject, view: int) -> str:
    return f"{azimuth_deg(posed, view):g}°"


def _role(posed: PosedObject) -> str:
    """What the pose of the novel view is to the generator."""
    free = held_out_view(posed) not in posed.rig
    return "a pose the generator never draws" if free else "one of the generator's poses"


def teaser(material: Material) -> Drawn:
    """Input, the rendering of every step, and a novel view beside its ground truth; one object a row."""
    lead, first = material.lead, material.showcase[0]
    column = min(1, len(first.rig) - 1)
    rows, kept = [], 1
    for posed in material.showcase:
        steps = material.steps(lead, posed)
        kept = max(kept, 0 if steps is None else len(steps[1]))
    for posed in material.showcase:
        steps, novel = material.steps(lead, posed), held_out_view(posed)
        shown = [] if steps is None else [image[column] for image in steps[1]]
        images = [truth(posed, posed.rig[0]), *shown, *[None] * (kept - len(shown))]
        images += [truth(posed, posed.rig[column])]
        images += [material.drawn(lead, posed, novel), truth(posed, novel)]
        rows.append((posed.id, images))
    pose, novel_pose = _degrees(first, first.rig[column]), _degrees(first, held_out_view(first))
    groups = [
        ("", ["input"]),
        (f"renderings, step by step, at {pose}", [str(k + 1) for k in range(kept)] + ["truth"]),
        (f"novel view, {novel_pose}", ["model", "truth"]),
    ]
    caption = (
        f"One image to a 3D model in {material.config.sample.methods[lead].steps} denoising steps ({lead}). "
        f"From left to right: the input; the 3D model of each kept step rendered at azimuth {pose}, and the "
        f"ground truth there; the final model at azimuth {novel_pose}, {_role(first)}, and "
        f"the ground truth there. {_objects(material)}; sampling seed {material.seed}."
    )
    names = ", ".join(posed.id for posed in material.showcase)
    alt = f"{len(rows)} rows ({names}): input image, {kept} successive renderings, ground truth, novel view."
    return Drawn(image_grid(groups, rows), caption, alt)


def qualitative(material: Material) -> Drawn:
    """One held-out pose: every method's model beside the ground truth; one object a row."""
    methods, first = list(material.samples), material.showcase[0]
    rows = []
    for posed in material.showcase:
        view = held_out_view(posed)
        drawn = [material.drawn(name, posed, view) for name in methods]
        rows.append((posed.id, [truth(posed, posed.rig[0]), *drawn, truth(posed, view)]))
    pose = _degrees(first, held_out_view(first))
    groups = [("", ["input"]), (f"final models at {pose}", methods), ("", ["truth"])]
    caption = (
        f"The final models of all {len(methods)} methods at azimuth {pose}, {_role(first)}, "
        f"beside the ground truth. {_objects(material)}; sampling seed {material.seed}."
    )
    alt = f"{len(rows)} rows of objects; columns: input, {', '.join(methods)}, ground truth."
    return Drawn(image_grid(groups, rows, material.lead), caption, alt)


def mosaic(images: np.ndarray) -> np.ndarray:
    """(V, H, W, 3) -> one image, two rows of ceil(V / 2) views, white where none is left."""
    count, height, width, _ = images.shape
    across = math.ceil(count / 2)
    sheet = np.ones((2 * height, across * width, 3), dtype=np.float32)
    for i, image in enumerate(images):
        row, column = divmod(i, across)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return sheet


def decibels(value: float) -> str:
    """A residual for print."""
    return "n/a" if math.isnan(value) else f"{value:.1f} dB"


def cvc_strip(material: Material) -> Drawn | None:
    """Generated views over renderings, step by step, for one object; None if no showcase object has steps."""
    lead = material.lead
    found = [(posed, steps) for posed in material.showcase if (steps := material.steps(lead, posed))]
    if not found:
        return None
    posed, (views, renders) = found[0]
    kept, across = len(views), math.ceil(views.shape[1] / 2)
    cell = min((WIDTH_IN - LABEL_IN) / kept - 0.1, 1.9)
    height = cell * 2 / across
    width = LABEL_IN + kept * (cell + 0.1)
    middle = 0.34
    sheet = Sheet(width, 0.3 + 2 * height + middle + 0.02)
    residuals = [material.residual(lead, posed, k + 1) for k in range(kept)]
    labels = ("generated\nviews", "renderings\nof the model")
    tops = (0.3, 0.3 + height + middle)
    for label, top in zip(labels, tops, strict=True):
        sheet.text(0.04, top + height / 2, label, va="center", color=INK, size=7.5)
    sheet.text(0.04, 0.3 + height + middle / 2, "residual", va="center", color=LEAD_COLOUR, size=7.5)
    for k in range(kept):
        left = LABEL_IN + k * (cell + 0.1)
        sheet.text(left + cell / 2, 0.16, f"step {k + 1}", ha="center", va="center", color=INK)
        sheet.text(
            left + cell / 2, 0.3 + height + middle / 2, decibels(residuals[k]),
            ha="center", va="center", color=LEAD_COLOUR, weight="bold",
        )  # fmt: skip
        for stack, top in zip((views, renders), tops, strict=True):
            pixels = mosaic(stack[k])
            axes = sheet.axes(left, top, cell, height)
            show(axes, pixels, 448 if across == 2 else 0)
    values = ", ".join(decibels(value) for value in residuals)
    which = "first object of the manifest" if posed is material.showcase[0] else "first object with a sample"
    caption = (
        f"Do the generated views agree with the 3D model made from them? {posed.id}, {lead}, seed "
        f"{material.seed}: for each kept step the {views.shape[1]} generated views, the renderings of the "
        "model reconstructed from them at the same poses, and the PSNR between the two (mean over views; "
        f"higher is more consistent): {values}. The {which}, not chosen by result."
    )
    alt = f"Generated views over renderings of {posed.id} at {kept} steps; residual PSNR {values}."
    return Drawn(sheet.figure, caption, alt)
