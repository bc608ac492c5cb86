"""Figures made of images, laid out in inches: rows under headed columns, and strips of one object."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aligncvc.paper.style import FAINT, INK, LEAD_COLOUR, QUIET, WIDTH_IN, show

LABEL_IN = 0.8
"""Width of the column of object names, inches."""
HEAD_IN = 0.42
GAP_IN = 0.03


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


@dataclass(frozen=True)
class Strip:
    """One block of the teaser: an input and what became of it. titles: of the images after the input."""

    name: str
    titles: Sequence[str]
    input: np.ndarray
    images: Sequence[np.ndarray | None]


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
