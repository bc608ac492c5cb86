"""`python -m aligncvc.paper verdict`: claims judged by the records of an ordinary run, written as a page."""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import SET_OBJECT
from aligncvc.evaluate.records import read_records
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.set_draws import SetDraws, draws_file
from aligncvc.files import atomic_path, parse_yaml, write_json, write_text
from aligncvc.paper.agreement import agreement
from aligncvc.paper.claims import Claims, described, lines, load_claims
from aligncvc.paper.commit import commit
from aligncvc.paper.curves import EFFECTS, few_curves, training
from aligncvc.paper.figures import Drawings, draw_each
from aligncvc.paper.image_figures import objects
from aligncvc.paper.inputs import VerdictInputs
from aligncvc.paper.pair_results import read_logs, read_pairs
from aligncvc.paper.progress import progress
from aligncvc.paper.quality_cost import quality_over_k
from aligncvc.paper.reading import TEMPLATES, read, read_rankings, table_rows
from aligncvc.paper.style import styled
from aligncvc.paper.table_formats import as_csv, as_markdown, markdown
from aligncvc.paper.table_layout import lay_out, read_facts
from aligncvc.paper.table_rows import build_rows, known_rows
from aligncvc.paper.tables import csv_line, read_hardware
from aligncvc.paper.verdict_rules import Evidence, Judged, judge, outcome
from aligncvc.viewer.templating import render_template

TABLES = ("table1", "table2")

PICTURES: Drawings = {
    "objects": objects,
    "agreement": agreement,
    "steps": few_curves,
    "k": quality_over_k,
    "training": partial(training, panels=EFFECTS),
}
WORDS = {True: "holds", False: "**does not hold**", None: "n/a"}
HEADINGS = {"claims": "Claims", "goals": "Goals", "controls": "Controls"}
SHORT = {"goals": "goal", "controls": "control"}
"""What the summary calls a line; a claim has its letter."""

DPI = 150
COLOURS_KEPT = 256
"""Palette of the pictures: a third of the bytes, and no difference that the eye sees."""


def write_verdict(job: PaperJob, inputs: VerdictInputs, out: Path) -> dict[str, Any]:
    """Judge the claims and write verdict.json, README.md, tables and pictures.

    Returns what verdict.json holds. Methods that have no records make their lines n/a. Raises UserError for
    files that cannot be read or compared, and for claims about pairs that the configuration lacks.
    """
    claims, rankings = load_claims(inputs.claims), read_rankings(inputs.discrimination)
    known = [pair.name for pair in job.pairs]
    if strangers := [name for name in claims.pairs if name not in known]:
        raise UserError(
            f"{inputs.claims} is about the pair {strangers[0]!r}, which the configuration does not have "
            f"({', '.join(known)}); correct its `pair`"
        )
    scores = Scores.read(inputs.metrics, job.seed)
    more = Scores.read([*inputs.metrics, *inputs.renderings], job.seed) if inputs.renderings else scores
    memory = read_memory(inputs.memory)
    notes = read_notes(inputs.notes, claims.claims)
    evidence = Evidence(more, {row["variant"]: row for row in memory}, read_draws(inputs.metrics))
    judged = judge(lines(claims, job.paper.columns, rankings), evidence)
    about = {**facts(job, claims.pairs, scores, inputs), "memory": memory}
    beside, tables = read_facts(inputs.metrics, inputs.discrimination), {}
    for name in TABLES:
        if known_rows(job, name):
            table = build_rows(job, name, scores)
            write_text(out / f"{name}.csv", as_csv([csv_line(table, row) for row in table.rows]))
            tables[name] = as_markdown(lay_out(job, table, beside))
    pairs = [pair for pair in read_pairs(job, scores, inputs) if pair.pair in claims.pairs]
    with styled():
        pictures = [
            (save_png(out, name, drawn.figure), drawn.caption, drawn.alt)
            for name, _, drawn in draw_each(pairs, PICTURES)
        ]
        if (drawn := progress(pairs)) is not None:
            pictures.append((save_png(out, "progress", drawn.figure), drawn.caption, drawn.alt))
    write_text(out / "README.md", page(claims, about, judged, tables, pictures, notes))
    verdict = {
        "about": about,
        "claims": {
            key: {"title": claim.title, "holds": outcome([one for one in judged if one.line.claim == key])}
            for key, claim in claims.claims.items()
        },
        "lines": [one.facts for one in judged],
    }
    write_json(out / "verdict.json", verdict)
    return verdict


def read_draws(paths: Iterable[Path]) -> dict[Key, SetDraws]:
    """Resampled distances that lie beside records, by pair and method; without those that have none."""
    found = {}
    for path in paths:
        if draws_file(path).is_file() and (first := next(iter(read_records(path)), None)):
            found[Key(first.pair, first.method)] = SetDraws.load(draws_file(path))
    return found


def read_memory(path: Path | None) -> list[dict[str, str]]:
    """Rows of memory.csv: variant, peak_mb, weights_mb, hardware. Raises UserError if it is odd."""

    def parse(text: str) -> list[dict[str, str]]:
        rows = table_rows(text, ("variant", "peak_mb", "weights_mb", "hardware"))
        [float(row["peak_mb"]) for row in rows]
        return rows

    mend = "make it with python -m aligncvc.bench.training_memory"
    return [] if path is None else read(path, parse, "is no table of memory", mend)


def read_notes(path: Path | None, claims: Collection[str]) -> dict[str, str]:
    """Explanations by claim. Raises UserError for keys that are no claim."""

    def parse(text: str) -> dict[str, str]:
        notes = {str(key): str(note) for key, note in dict(parse_yaml(text) or {}).items()}
        if strangers := sorted(set(notes) - set(claims)):
            raise ValueError(f"{strangers} are none of {', '.join(claims)}")
        return notes

    return {} if path is None else read(path, parse, "holds no notes by claim", "write `a: text`")


def facts(job: PaperJob, pairs: Sequence[str], scores: Scores, inputs: VerdictInputs) -> dict[str, Any]:
    """What stands at the top: claims, pairs, objects, seeds, protocol, commit, hardware, date, training."""
    newest = max(path.stat().st_mtime for path in inputs.metrics)
    logs = read_logs(inputs.align, job)
    return {
        "claims": f"{inputs.claims.parent.name}/{inputs.claims.name}",
        "pair": ", ".join(pairs),
        "objects": len(set(scores.frame["object"]) - {SET_OBJECT}),
        "seeds": job.seeds,
        "protocol": job.protocol.slug,
        "protocol_hash": job.protocol.hash,
        "commit": commit(),
        "hardware": list(dict.fromkeys(read_hardware(inputs.samples).values())),
        "date": datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": [
            {
                "run": run if len(pairs) == 1 else f"{run} of {pair}",
                "steps": len(log["step"]),
                "seconds": round(float(np.nansum(log["seconds"])), 1),
            }
            for pair in pairs
            for run, log in sorted(logs[pair].items())
            if "seconds" in log
        ],
    }


def save_png(folder: Path, name: str, figure: Figure) -> str:
    """Write `<folder>/<name>.png` with a palette, without dates; returns the file's name."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    image = Image.open(buffer).convert("RGB").quantize(COLOURS_KEPT, dither=Image.Dither.NONE)
    with atomic_path(folder / f"{name}.png") as temporary:
        image.save(temporary, format="PNG", optimize=True)
    return f"{name}.png"


def page(
    claims: Claims,
    about: Mapping[str, Any],
    judged: Sequence[Judged],
    tables: Mapping[str, str],
    pictures: Sequence[tuple[str, str, str]],
    notes: Mapping[str, str],
) -> str:
    """The page. tables: Markdown by name; pictures: (file, caption, alt); notes: explanations by claim."""
    found = {claim.group for claim in claims.claims.values()}
    return render_template(
        "verdict_page.txt",
        folder=TEMPLATES,
        claims=claims,
        about=about,
        groups={key: [one for one in judged if one.line.claim == key] for key in claims.claims},
        tables=tables,
        pictures=pictures,
        notes=defaultdict(str, notes),
        words=WORDS,
        headings={group: words for group, words in HEADINGS.items() if group in found},
        short=SHORT,
        effect=effect,
        markdown=markdown,
        outcome=outcome,
    )


def effect(one: Judged) -> str:
    """The effect with its interval and unit, with the metric's digits."""
    if math.isnan(one.effect.centre):
        return "n/a"
    if one.line.metric == "all":
        return f"{one.effect.centre:g}"
    digits = {"MB": 1, "dB": 2, "times": 2, "better": 0}.get(one.unit, described(one.line.metric).decimals)
    sign = "" if one.unit in ("times", "better") else "+"
    mean, lo, hi = (f"{value:{sign}.{digits}f}" for value in one.effect)
    bracket = "" if math.isnan(one.effect.lo) else f" [{lo}, {hi}]"
    return f"{mean}{bracket} {one.unit}".strip()
