"""All figures of the paper, and index.json, which lists them with captions made from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.evaluate.scores import Scores
from aligncvc.files import write_json
from aligncvc.paper.agreement import agreement
from aligncvc.paper.control_ranking import control_ranking
from aligncvc.paper.curves import consistency_appendix, consistency_curves, training
from aligncvc.paper.image_figures import comparison, teaser
from aligncvc.paper.inputs import FigureInputs
from aligncvc.paper.pair_results import PairResults, read_pairs
from aligncvc.paper.quality_cost import quality_vs_cost
from aligncvc.paper.style import Drawn, save_figure, styled

INDEX = "index.json"

Drawings = Mapping[str, Callable[[PairResults], Drawn | None]]
"""What draws a figure, by its name; None where the data do not allow it."""

IMAGES_AND_STEPS: Drawings = {
    "teaser": teaser,
    "agreement": agreement,
    "comparison": comparison,
    "consistency_curves": consistency_curves,
}
COST_AND_TRAINING: Drawings = {
    "quality_vs_cost": quality_vs_cost,
    "training": training,
    "consistency_appendix": consistency_appendix,
}


def write_figures(job: PaperJob, inputs: FigureInputs, out: Path) -> list[dict[str, object]]:
    """Write every figure that the inputs allow as PNG, SVG and PDF into `out`, then index.json.

    Returns the index: a list of {name, pair, files, caption, alt}, files being names beside it. With several
    pairs each has its own figures, `<name>_<pair>`; pair is null for the controls'. A figure without data (a
    chart whose metric nobody recorded) is left out of it. Raises UserError for inputs that cannot be read or
    compared.
    """
    pairs = read_pairs(job, Scores.read(inputs.metrics, job.seed), inputs)
    index: list[dict[str, object]] = []
    with styled():
        for name, pair, drawn in draw_figures(pairs):
            caption = f"{pair}: {drawn.caption}" if len(pairs) > 1 and pair else drawn.caption
            words = {"caption": caption, "alt": drawn.alt}
            index.append({"name": name, "pair": pair, "files": save_figure(out, name, drawn.figure), **words})
    write_json(out / INDEX, index)
    return index


def draw_figures(pairs: Sequence[PairResults]) -> Iterator[tuple[str, str | None, Drawn]]:
    """Each figure that the data allow, with its name and pair, in the index's order; inside `styled`."""
    yield from draw_each(pairs, IMAGES_AND_STEPS)
    drawn = control_ranking(pairs[0].scores, pairs[0].rankings)
    if drawn is not None:
        yield "controls", None, drawn
    yield from draw_each(pairs, COST_AND_TRAINING)


def draw_each(pairs: Sequence[PairResults], drawings: Drawings) -> Iterator[tuple[str, str, Drawn]]:
    """Figure by figure, so that pairs stand next to each other, with names that tell several pairs apart."""
    for name, draw in drawings.items():
        for pair in pairs:
            if (drawn := draw(pair)) is not None:
                yield name if len(pairs) == 1 else f"{name}_{pair.pair}", pair.pair, drawn
