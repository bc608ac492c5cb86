"""Figures made of images: the teaser (the paper's Figure 1) and the comparison (its Figure 5)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aligncvc.paper.data import UPPER_BOUND, Material, azimuth_deg, between_rig, held_out_view, truth
from aligncvc.paper.style import FAINT, INK, LEAD_COLOUR, QUIET, WIDTH_IN, show
from aligncvc.scene.renderset import PosedObject

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
    """An object's name or id in short lines."""
    return "\n".join(textwrap.wrap(name.replace("_", "_ "), 13, break_long_words=True)).replace("_ ", "_")


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
        sheet.text(0.04, top + cell / 2, object_label(name), va="center", color=QUIET, size=7)
        for left, image in zip(lefts, images, strict=True):
            show(sheet.axes(left, top, cell, cell), image)
    return sheet.figure


def chosen_objects(material: Material) -> str:
    """How the shown objects were picked."""
    count, total = len(material.showcase), len(material.renders)
    if count == total:
        return f"All {total} objects of the set"
    return f"{count} of {total} objects, drawn by the configuration's seed, not by eye"


def _degrees(posed: PosedObject, view: int) -> str:
    return f"{azimuth_deg(posed, view):g}°"


def _role(posed: PosedObject) -> str:
    """What the pose of the novel view is to the generator."""
    free = held_out_view(posed) not in posed.rig
    return "a pose the generator never draws" if free else "one of the generator's poses"


TURNS, UNROLLED = 4, 2
"""Objects of the teaser that are turned, and objects that are shown step by step."""


@dataclass(frozen=True)
class Strip:
    """One block of the teaser: an input and what became of it. titles: of the images after the input."""

    name: str
    titles: Sequence[str]
    input: np.ndarray
    images: Sequence[np.ndarray | None]


def turned(material: Material, posed: PosedObject) -> Strip:
    """The final model of the lead at four poses between those of the rig."""
    views = between_rig(posed)
    images = [material.drawn(material.lead, posed, view) for view in views]
    titles = [_degrees(posed, view) for view in views]
    return Strip(material.label(posed), titles, truth(posed, posed.rig[0]), images)


def unrolled(material: Material, posed: PosedObject, kept: int) -> Strip:
    """The renderings after each kept step at the rig's second pose."""
    steps, column = material.steps(material.lead, posed), min(1, len(posed.rig) - 1)
    images = [None] * kept if steps is None else [image[column] for image in steps[1]]
    titles = [f"step {k + 1}" for k in range(kept)]
    return Strip(material.label(posed), titles, truth(posed, posed.rig[0]), images)


def strips(rows: Sequence[Sequence[Strip]]) -> Figure:
    """Blocks of images side by side, row by row; the input of each stands apart from what was made of it."""
    across = max(map(len, rows))
    cells = max(len(strip.images) for row in rows for strip in row)
    apart, between, head = 0.1, 0.24, 0.36
    cell = min((WIDTH_IN - (across - 1) * between) / across / (cells + 1) - apart / (cells + 1), 0.95)
    block = (cells + 1) * cell + apart
    pitch = cell + head + 0.08
    sheet = Sheet(across * block + (across - 1) * between, len(rows) * pitch)
    for i, row in enumerate(rows):
        for j, strip in enumerate(row):
            left, top = j * (block + between), i * pitch
            sheet.text(left, top + 0.1, strip.name, va="center", color=INK, size=7.5, weight="bold")
            sheet.rule(left, left + block, top + 0.19)
            sheet.text(left + cell / 2, top + 0.28, "input", ha="center", va="center", color=QUIET, size=7)
            show(sheet.axes(left, top + head, cell, cell), strip.input)
            for k, (title, image) in enumerate(zip(strip.titles, strip.images, strict=True)):
                x = left + apart + (k + 1) * cell
                sheet.text(x + cell / 2, top + 0.28, title, ha="center", va="center", color=QUIET, size=7)
                show(sheet.axes(x, top + head, cell - 0.03, cell), image)
    return sheet.figure


def teaser(material: Material) -> Drawn:
    """The paper's Figure 1: objects turned, and objects step by step."""
    lead, shown = material.lead, material.showcase
    turns, steps = shown[: max(1, len(shown) - UNROLLED)][:TURNS], shown[-UNROLLED:]
    known = [found for posed in steps if (found := material.steps(lead, posed))]
    kept = max((len(found[1]) for found in known), default=1)
    blocks = [turned(material, posed) for posed in turns]
    rows = [blocks[i : i + 2] for i in range(0, len(blocks), 2)]
    rows.append([unrolled(material, posed, kept) for posed in steps])
    poses = ", ".join(_degrees(turns[0], view) for view in between_rig(turns[0]))
    pose = _degrees(steps[0], steps[0].rig[min(1, len(steps[0].rig) - 1)])
    caption = (
        f"One image to a 3D model in {material.config.sample.methods[lead].steps} denoising steps ({lead}). "
        f"Above: the input and the final model at azimuths {poses}, halfway between the generator's poses. "
        f"Last row: the input and the renderings at azimuth {pose} after each kept step. "
        f"{chosen_objects(material)}; sampling seed {material.seed}."
    )
    alt = (
        f"Inputs and renderings of the final model: {', '.join(map(material.label, turns))}. "
        f"Step by step: {', '.join(map(material.label, steps))}."
    )
    return Drawn(strips(rows), caption, alt)


def comparison(material: Material) -> Drawn:
    """The paper's Figure 5: input, every method of table1, the upper bound, the target view."""
    methods, first = material.compared, material.showcase[0]
    bound = [name for name in material.controls if name == UPPER_BOUND]
    rows = []
    for posed in material.showcase:
        view = held_out_view(posed)
        drawn = [material.drawn(name, posed, view) for name in (*methods, *bound)]
        rows.append((material.label(posed), [truth(posed, posed.rig[0]), *drawn, truth(posed, view)]))
    pose = _degrees(first, held_out_view(first))
    above = [("upper bound", bound)] if bound else []
    groups = [("", ["input"]), (f"final models at {pose}", methods), *above, ("", ["target view"])]
    limit = f" {UPPER_BOUND}: the reconstruction of the true views, the upper bound." if bound else ""
    caption = (
        f"The final models of {len(methods)} methods at azimuth {pose}, {_role(first)}, "
        f"beside the target view.{limit} {chosen_objects(material)}; sampling seed {material.seed}."
    )
    alt = f"{len(rows)} rows of objects; columns: input, {', '.join((*methods, *bound))}, target view."
    return Drawn(image_grid(groups, rows, material.lead), caption, alt)
