"""Figures made of images: the paper's Figures 1 (teaser) and 5 (comparison), the verdict's sheet of objects.

They are laid out in inches: rows under headed columns, and strips of one object.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aligncvc.paper.pair_results import UPPER_BOUND, PairResults, between_rig, degrees, held_out_view, truth
from aligncvc.paper.style import FAINT, INK, LEAD_COLOUR, QUIET, WIDTH_IN, Drawn, captioned, show
from aligncvc.scene.renderset import PosedObject

LABEL_IN = 0.8
"""Width of the column of object names, inches."""
HEAD_IN = 0.42
GAP_IN = 0.03

TURNS, UNROLLED, POSES = 4, 2, 4
"""Objects of the teaser that are turned, objects that are shown step by step, poses of the turned ones."""

PICTURED = 3
"""Published pictures beside the input in that sheet."""
SHEET_METHODS = ("two_stage_50", "aware_4", "aligncvc_4")
"""Methods of the verdict's sheet."""

Images = Sequence[np.ndarray | None]
"""Each (H, W, 3) in [0, 1]; None where the sample failed."""


class Sheet:
    """A figure laid out in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """An axes whose top left corner is at (x, y)."""
        left, bottom = x / self.width, 1 - (y + height) / self.height
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def text(self, x: float, y: float, text: str, most: float = math.inf, **style: Any) -> float:
        """Words at (x, y), which is the middle of their height; returns where they end to the right.

        most: their greatest width, to which a smaller type brings them.
        """
        words = self.figure.text(x / self.width, 1 - y / self.height, text, **({"va": "center"} | style))
        if (wide := words.get_window_extent().width / self.figure.dpi) > most:
            words.set_fontsize(float(words.get_fontsize()) * most / wide)
        return float(words.get_window_extent().x1) / self.figure.dpi

    def rule(self, x0: float, x1: float, y: float, colour: str = QUIET) -> None:
        """A thin horizontal line."""
        xs, level = (x0 / self.width, x1 / self.width), 1 - y / self.height
        self.figure.add_artist(Line2D(xs, (level, level), color=colour, linewidth=0.7))


def object_label(name: str) -> str:
    """An object's name or id in short lines, three at most, as more would run into the next row."""
    lines = textwrap.wrap(name.replace("_", "_ "), 13, max_lines=3, placeholder="...")
    return "\n".join(lines).replace("_ ", "_")


def image_grid(
    groups: Sequence[tuple[str, Sequence[str]]], rows: Sequence[tuple[str, Images]], lead: str = ""
) -> Figure:
    """Rows of images under headed groups of columns.

    groups: (heading, column titles); rows: (object id, its images in column order). `lead`: the title that
    is set in the strong colour.
    """
    titles = [title for _, columns in groups for title in columns]
    breaks = 0.09 * (len(groups) - 1)
    cell = min((WIDTH_IN - LABEL_IN - breaks) / len(titles) - GAP_IN, 1.15)
    width = LABEL_IN + breaks + len(titles) * (cell + GAP_IN)
    sheet = Sheet(width, HEAD_IN + len(rows) * (cell + GAP_IN) + 0.02)
    lefts, x = [], LABEL_IN
    for heading, columns in groups:
        start = x
        for _ in columns:
            lefts.append(x)
            x += cell + GAP_IN
        if heading:
            middle, most = (start + x - GAP_IN) / 2, x - GAP_IN - start
            sheet.text(middle, 0.13, heading, most, ha="center", color=QUIET, size=7.5)
            sheet.rule(start, x - GAP_IN, 0.225)
        x += 0.09
    for left, title in zip(lefts, titles, strict=True):
        look = {"color": LEAD_COLOUR, "weight": "bold"} if title == lead else {"color": INK}
        sheet.text(left + cell / 2, 0.32, title, cell, ha="center", size=7.5, **look)
    for i, (name, images) in enumerate(rows):
        top = HEAD_IN + i * (cell + GAP_IN)
        if i:
            sheet.rule(0.04, width - GAP_IN, top - GAP_IN / 2, FAINT)
        sheet.text(0.04, top + cell / 2, object_label(name), color=QUIET, size=7)
        for left, image in zip(lefts, images, strict=True):
            show(sheet.axes(left, top, cell, cell), image)
    return sheet.figure


class Strip(NamedTuple):
    """One block of the teaser: an input and what became of it. titles: of the images after the input."""

    name: str
    input: np.ndarray
    titles: Sequence[str]
    images: Images


def strips(rows: Sequence[Sequence[Strip]]) -> Figure:
    """Blocks of images side by side, row by row; the input of each stands apart from what was made of it."""
    across = max(map(len, rows))
    cells = max(len(strip.images) for row in rows for strip in row)
    apart, between, head = 0.1, 0.24, 0.36
    cell = min((WIDTH_IN - (across - 1) * between) / across / (cells + 1) - apart / (cells + 1), 0.95)
    block = (cells + 1) * cell + apart
    pitch = cell + head + 0.08
    sheet = Sheet(across * block + (across - 1) * between, len(rows) * pitch)
    quiet: dict[str, Any] = {"ha": "center", "color": QUIET, "size": 7}
    for i, row in enumerate(rows):
        for j, strip in enumerate(row):
            left, top = j * (block + between), i * pitch
            sheet.text(left, top + 0.1, strip.name, color=INK, size=7.5, weight="bold")
            sheet.rule(left, left + block, top + 0.19)
            sheet.text(left + cell / 2, top + 0.28, "input", **quiet)
            show(sheet.axes(left, top + head, cell, cell), strip.input)
            for k, (title, image) in enumerate(zip(strip.titles, strip.images, strict=True)):
                x = left + apart + (k + 1) * cell
                sheet.text(x + cell / 2, top + 0.28, title, **quiet)
                show(sheet.axes(x, top + head, cell - 0.03, cell), image)
    return sheet.figure


def turned_views(posed: PosedObject) -> list[int]:
    """POSES ring views at most, halfway between the generator's poses."""
    views = between_rig(posed)
    return views[:: -(-len(views) // POSES)]


def teaser(pair: PairResults) -> Drawn:
    """The paper's Figure 1: objects turned, and objects step by step."""
    lead, shown = pair.lead, pair.showcase
    turns, unrolls = shown[: max(1, len(shown) - UNROLLED)][:TURNS], shown[-UNROLLED:]
    blocks = []
    for posed in turns:
        views = turned_views(posed)
        images: Images = [pair.drawn(lead, posed, view) for view in views]
        titles = [degrees(posed, view) for view in views]
        blocks.append(Strip(pair.label(posed), truth(posed, posed.rig[0]), titles, images))
    rows = [blocks[i : i + 2] for i in range(0, len(blocks), 2)]
    stacks = [pair.steps(lead, posed) for posed in unrolls]
    kept = max((len(steps[1]) for steps in stacks if steps), default=1)
    rows.append([])
    for posed, steps in zip(unrolls, stacks, strict=True):  # at the rig's second pose
        images = [image[min(1, len(posed.rig) - 1)] for image in steps[1]] if steps else [None] * kept
        titles = [f"step {k + 1}" for k in range(kept)]
        rows[-1].append(Strip(pair.label(posed), truth(posed, posed.rig[0]), titles, images))
    pose = degrees(unrolls[0], unrolls[0].rig[min(1, len(unrolls[0].rig) - 1)])
    views = turned_views(turns[0])
    poses, free = [degrees(turns[0], view) for view in views], not set(views) & set(turns[0].rig)
    names = {"turned": list(map(pair.label, turns)), "unrolled": list(map(pair.label, unrolls))}
    drawn = pair.shown_of(len({posed.id for posed in (*turns, *unrolls)}))
    facts = {"poses": poses, "free": free, "pose": pose, "drawn": drawn}
    return captioned(strips(rows), "teaser", pair=pair, **facts, **names)


def comparison(pair: PairResults) -> Drawn:
    """The paper's Figure 5: input, table1's methods (baseline and lead last), upper bound, target view."""
    beside = [name for name in (pair.baseline, pair.lead) if name in pair.compared]
    methods = [*(name for name in pair.compared if name not in beside), *dict.fromkeys(beside)]
    first = pair.showcase[0]
    bound = [UPPER_BOUND.method] if UPPER_BOUND.method in pair.controls else []
    rows: list[tuple[str, Images]] = []
    for posed in pair.showcase:
        view = held_out_view(posed)
        drawn = [pair.drawn(name, posed, view) for name in (*methods, *bound)]
        rows.append((pair.label(posed), [truth(posed, posed.rig[0]), *drawn, truth(posed, view)]))
    pose, free = degrees(first, held_out_view(first)), held_out_view(first) not in first.rig
    above = [("upper bound", bound)] if bound else []
    groups = [("", ["input"]), (f"final models at {pose}", methods), *above, ("", ["target view"])]
    facts = {"methods": methods, "bound": bound, "pose": pose, "free": free}
    return captioned(image_grid(groups, rows, pair.lead), "comparison", pair=pair, **facts)


def objects(pair: PairResults) -> Drawn:
    """Rows: drawn objects. Columns: the input, true views, and of each method its views and renderings."""
    first = pair.showcase[0]
    methods = [name for name in SHEET_METHODS if name in pair.samples] or [pair.lead]
    if pair.pictured:
        return pictured(pair, methods)
    angles = [degrees(first, view) for view in first.rig[1:3]]
    titles = [*(f"v {a}" for a in angles), *(f"r {a}" for a in angles)]
    groups = [("", ["input"]), ("truth", angles), *((name, titles) for name in methods)]
    rows = [(pair.label(posed), list(_sheet_cells(pair, posed, methods))) for posed in pair.showcase]
    return captioned(image_grid(groups, rows), "objects", pair=pair, methods=methods, angles=angles)


def pictured(pair: PairResults, methods: Sequence[str]) -> Drawn:
    """`objects` of published pictures. Columns: the input, others, each method's model at their cameras."""
    views = between_rig(pair.showcase[0])[:PICTURED]
    angles = [degrees(pair.showcase[0], view) for view in views]
    rows: list[tuple[str, Images]] = []
    for posed in pair.showcase:
        drawn = [pair.drawn(name, posed, view) for name in methods for view in views]
        rows.append((pair.label(posed), [*(truth(posed, view) for view in (posed.rig[0], *views)), *drawn]))
    groups = [("", ["input"]), ("pictures", angles), *((name, angles) for name in methods)]
    facts = {"methods": methods, "angles": angles}
    return captioned(image_grid(groups, rows), "pictures", pair=pair, **facts)


def _sheet_cells(
    pair: PairResults, posed: PosedObject, methods: Sequence[str]
) -> Iterator[np.ndarray | None]:
    yield from (truth(posed, view) for view in posed.rig[:3])
    columns = range(1, min(3, len(posed.rig)))
    for name in methods:
        for stack in pair.steps(name, posed) or (None, None):
            yield from (None if stack is None else stack[-1, v] for v in columns)
