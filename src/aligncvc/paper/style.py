"""The look of every figure, and how figures reach the disk: the same bytes from the same data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.optimize import isotonic_regression

from aligncvc.files import atomic_path
from aligncvc.paper.reading import shipped
from aligncvc.viewer.templating import render_text

INK = "#1b1f24"
QUIET = "#6a737d"
FAINT = "#d9dde2"
EMPTY = "#f4f5f7"

LEAD_COLOUR = "#d55e00"
COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
"""Okabe and Ito's colours, told apart by people with any common colour blindness."""

MARKERS = ("o", "s", "^", "D", "v", "P")

WIDTH_IN = 7.2
"""Text width of a two-column paper, inches."""

SETTINGS: dict[str, Any] = shipped("figures.yaml")
"""style, consistency, losses, effects: see the file."""

RC: Any = SETTINGS["style"]

CAPTIONS = shipped("captions.yaml")
"""caption and alt of each figure."""

DASHES = (0, (4, 2))
"""Of the lines that others are read against."""

_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


@dataclass(frozen=True)
class Drawn:
    """A figure with the words that go with it."""

    figure: Figure
    caption: str
    alt: str


@contextmanager
def styled() -> Iterator[None]:
    """Draw with this style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def chart(height: float) -> Figure:
    """An empty figure of the page's width; height in inches."""
    return Figure(figsize=(WIDTH_IN, height))


def captioned(figure: Figure, name: str, /, **facts: Any) -> Drawn:
    """The figure with its words from captions.yaml, made from these facts; a missing one is an error."""
    caption, alt = (render_text(CAPTIONS[name][kind], **facts) for kind in ("caption", "alt"))
    return Drawn(figure, caption, alt)


def save_figure(folder: Path, name: str, figure: Figure) -> list[str]:
    """Write `<folder>/<name>.{png,svg,pdf}` without dates; returns the file names."""
    files = []
    for suffix, metadata in _METADATA.items():
        with atomic_path(folder / f"{name}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)
        files.append(f"{name}.{suffix}")
    return files


def method_colours(methods: Sequence[str], lead: str) -> dict[str, str]:
    """A colour a method; the lead's is the strong one."""
    others = [name for name in methods if name != lead]
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)} | {lead: LEAD_COLOUR}


def looks(
    names: Iterable[str], colours: Mapping[str, str], size: float = 4, markers: Sequence[str] = MARKERS
) -> dict[str, dict[str, Any]]:
    """Entries of a legend: colour and marker by name, the markers in turn."""
    marked = zip(names, cycle(markers), strict=False)
    return {name: {"color": colours[name], "marker": marker, "markersize": size} for name, marker in marked}


def legend(figure: Figure, entries: Mapping[str, Mapping[str, Any]], **style: Any) -> None:
    """A legend below everything: the look of a line by label."""
    handles = [Line2D([], [], label=label, **look) for label, look in entries.items()]
    usual: dict[str, Any] = {"loc": "lower center", "ncols": len(handles), "frameon": False, "fontsize": 7.5}
    figure.legend(handles=handles, **(usual | style))


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str]) -> None:
    """Names at the right ends (x, y) of lines, pushed apart vertically so that none overlap."""
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    placed = spread([y for _, y in ends.values()], 0.135 * (high - low) / inches)
    right = max(axes.get_xlim()[1], *(x for x, _ in ends.values()))
    for name, level in zip(ends, placed, strict=True):
        axes.annotate(
            name, (right, level), xytext=(3, 0), textcoords="offset points", annotation_clip=False,
            va="center", color=colours[name], size=7.5,
        )  # fmt: skip


def enlarge(image: np.ndarray, size_px: int) -> np.ndarray:
    """(H, W, 3) in [0, 1] -> uint8 (size_px, size_px, 3) by Lanczos; larger images stay as they are."""
    pixels = Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))
    if max(pixels.size) < size_px:
        pixels = pixels.resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(pixels)


def show(axes: Axes, image: np.ndarray | None, size_px: int = 224) -> None:
    """An image filling the axes, or a quiet "failed" where there is none."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if image is None:
        axes.set_facecolor(EMPTY)
        axes.text(0.5, 0.5, "failed", ha="center", va="center", color=QUIET, transform=axes.transAxes)
    else:
        axes.imshow(enlarge(image, size_px), aspect="equal")


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Label positions at least `gap` apart, as close to the wanted ones as can be, and in their order."""
    wanted, gaps = np.asarray(positions), gap * np.arange(len(positions))
    order, placed = np.argsort(wanted, kind="stable"), np.empty(len(positions))
    placed[order] = isotonic_regression(wanted[order] - gaps).x + gaps
    return placed.tolist()
