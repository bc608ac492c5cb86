"""All figures of the paper, and index.json, which lists them with captions made from the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from aligncvc.config import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.records import concat
from aligncvc.files import write_json
from aligncvc.paper.agreement import agreement
from aligncvc.paper.charts import consistency_curves, training
from aligncvc.paper.data import Material, load_material, read_training, read_verdicts
from aligncvc.paper.dots import controls, quality_vs_cost
from aligncvc.paper.panels import Drawn, comparison, teaser
from aligncvc.paper.pieces import object_names
from aligncvc.paper.style import FORMATS, save_figure, styled

INDEX = "index.json"

CHARTS = {"consistency_curves": consistency_curves, "controls": controls, "quality_vs_cost": quality_vs_cost}

NAMES = ("teaser", "agreement", "comparison", *CHARTS, "training")
"""Of all figures that there may be, in the index's order."""


def figure_files() -> list[str]:
    """Names of the files that the figures may need."""
    return [INDEX, *(f"{name}.{suffix}" for name in NAMES for suffix in FORMATS)]


def write_figures(
    config: Config,
    metrics: Sequence[Path],
    samples: Sequence[Path],
    renders: Path,
    align: Sequence[Path],
    out: Path,
    discrimination: Path | None = None,
) -> list[dict[str, object]]:
    """Write every figure that the inputs allow as PNG, SVG and PDF into `out`, then index.json.

    metrics: CSVs of records; samples: manifest.json of each method and control; renders: manifest.tsv of the
    ground truth; align: metrics.jsonl of each alignment run, which the folder is named after;
    discrimination: which metrics rank the controls. Returns the index: a list of {name, files, caption, alt},
    files being names beside it. A figure without data (a chart whose metric nobody recorded) is left out of
    it. Raises UserError for inputs that cannot be read or compared.
    """
    verdicts = read_verdicts(discrimination) if discrimination else None
    names = object_names(config)
    material = load_material(config, concat(metrics), samples, renders, verdicts, names)
    logs = read_logs(align)
    index: list[dict[str, object]] = []
    with styled():
        for name, drawn in draw_figures(material, logs):
            files = save_figure(out, name, drawn.figure)
            index.append({"name": name, "files": files, "caption": drawn.caption, "alt": drawn.alt})
    write_json(out / INDEX, index)
    return index


def read_logs(align: Sequence[Path]) -> dict[str, dict[str, np.ndarray]]:
    """Training logs by run, which is the name of the folder. Raises UserError if two have one name."""
    logs = {path.resolve().parent.name: read_training(path) for path in align}
    if len(logs) != len(align):
        raise UserError("two training logs lie in folders of one name; give each run its own folder")
    return logs


def draw_figures(
    material: Material, logs: Mapping[str, Mapping[str, np.ndarray]]
) -> Iterator[tuple[str, Drawn]]:
    """Each figure that the data allow, with its name, in the index's order; to be drawn inside `styled`."""
    yield "teaser", teaser(material)
    if (drawn := agreement(material)) is not None:
        yield "agreement", drawn
    yield "comparison", comparison(material)
    for name, draw in CHARTS.items():
        if (drawn := draw(material)) is not None:
            yield name, drawn
    if (drawn := training(logs)) is not None:
        yield "training", drawn
