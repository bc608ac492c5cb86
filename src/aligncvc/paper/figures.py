"""All figures of the paper, and index.json, which lists them with captions made from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.evaluate.scores import Scores
from aligncvc.files import write_json
from aligncvc.paper.agreement import agreement
from aligncvc.paper.control_ranking import control_ranking
from aligncvc.paper.image_figures import comparison, teaser
from aligncvc.paper.pair_results import PairResults, read_pairs
from aligncvc.paper.protocol_facts import read_rankings
from aligncvc.paper.quality_cost import quality_vs_cost
from aligncvc.paper.step_curves import consistency_curves
from aligncvc.paper.style import Drawn, save_figure, styled
from aligncvc.paper.training_curves import Log, read_logs, training

INDEX = "index.json"


def write_figures(
    job: PaperJob,
    metrics: Sequence[Path],
    samples: Sequence[Path],
    renders: Path,
    align: Sequence[Path],
    out: Path,
    discrimination: Path | None = None,
) -> list[dict[str, object]]:
    """Write every figure that the inputs allow as PNG, SVG and PDF into `out`, then index.json.

    Args:
        job: Rows, pairs, what is shown.
        metrics: CSVs of records.
        samples: manifest.json of each pair and method, and of each control.
        renders: manifest.tsv of the ground truth.
        align: <pair>/<run>/metrics.jsonl of each alignment run.
        out: Folder to write into.
        discrimination: Which metrics rank the controls.

    Returns the index: a list of {name, pair, files, caption, alt}, files being names beside it. With several
    pairs each has its own figures, `<name>_<pair>`; pair is null for the controls'. A figure without data (a
    chart whose metric nobody recorded) is left out of it. Raises UserError for inputs that cannot be read or
    compared.
    """
    scores = Scores.read(metrics, job.seed)
    pairs = read_pairs(job, scores, samples, renders, read_rankings(discrimination))
    logs = read_logs(align, [pair.name for pair in job.pairs])
    index: list[dict[str, object]] = []
    with styled():
        for name, pair, drawn in draw_figures(pairs, logs):
            several = len(pairs) > 1 and pair is not None
            title = f"{name}_{pair}" if several else name
            words = {"caption": f"{pair}: {drawn.caption}" if several else drawn.caption, "alt": drawn.alt}
            files = save_figure(out, title, drawn.figure)
            index.append({"name": title, "pair": pair, "files": files, **words})
    write_json(out / INDEX, index)
    return index


def draw_figures(
    pairs: Sequence[PairResults], logs: Mapping[str, Mapping[str, Log]]
) -> Iterator[tuple[str, str | None, Drawn]]:
    """Each figure that the data allow, with its name and pair, in the index's order.

    To be drawn inside `styled`. logs: training logs by pair and run.
    """
    images = {"teaser": teaser, "agreement": agreement, "comparison": comparison}
    yield from _of_each(pairs, {**images, "consistency_curves": consistency_curves})
    drawn = control_ranking(pairs[0].scores, pairs[0].rankings)
    if drawn is not None:
        yield "controls", None, drawn
    curves = {"quality_vs_cost": quality_vs_cost, "training": lambda pair: training(logs.get(pair.pair, {}))}
    yield from _of_each(pairs, curves)


def _of_each(
    pairs: Sequence[PairResults], drawings: Mapping[str, Callable[[PairResults], Drawn | None]]
) -> Iterator[tuple[str, str, Drawn]]:
    """Figure by figure, so that pairs stand next to each other."""
    for name, draw in drawings.items():
        for pair in pairs:
            if (drawn := draw(pair)) is not None:
                yield name, pair.pair, drawn
