"""`results/report.html`: one self-contained page: what won, models to turn, tables, figures and credits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from aligncvc import __version__
from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.files import write_text
from aligncvc.hardware import hardware
from aligncvc.paper.commit import commit
from aligncvc.paper.headline import read_headline
from aligncvc.paper.inputs import ReportInputs
from aligncvc.paper.live_models import read_models, webp
from aligncvc.paper.pair_results import lead_row, object_credits, object_names
from aligncvc.paper.reading import TEMPLATES, read, shipped, table_rows
from aligncvc.paper.table_formats import DASH
from aligncvc.paper.table_rows import NOT_AVAILABLE
from aligncvc.scene.archives import FAILURES, Archives, is_sharded, read_failures
from aligncvc.viewer.templating import render_template, render_text, template_text

MAX_WIDTH_PX = 1600
MAX_CREDITS = 3000
"""Objects credited one by one; a larger set is credited in its manifest."""
MAX_REASONS = 50
"""Objects of a set that are named with the reason why they failed."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

WORDS = shipped("report.yaml")
"""tables, licences, sections: see the file."""


@dataclass(frozen=True)
class Figure:
    """A picture of the page. kind: its name without the pair; src: a data: address; width, height: pixels."""

    kind: str
    src: str
    width: int
    height: int
    alt: str
    caption: str


def embed(path: Path, kind: str, alt: str, caption: str) -> Figure:
    """An image file as a WebP of at most MAX_WIDTH_PX. Raises UserError if it is not an image."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise UserError(f"{path} is not a readable image ({error}); make it again") from error
    if image.width > MAX_WIDTH_PX:
        size = (MAX_WIDTH_PX, round(image.height * MAX_WIDTH_PX / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return Figure(kind, webp(image), image.width, image.height, alt, caption)


def read_figures(index: Path) -> list[Figure]:
    """The figures of an index.json that have a PNG beside it. Raises UserError for a bad index."""

    def parse(text: str) -> list[tuple[list[str], str, str, str]]:
        return [
            (list(e["files"]), str(e["name"]).removesuffix(f"_{e['pair']}"), str(e["alt"]), str(e["caption"]))
            for e in json.loads(text)
        ]

    rows = read(index, parse, "is no index of figures", "draw the figures again")
    pictures = [(index.parent / f, words) for files, *words in rows for f in files if f.endswith(".png")]
    return [embed(picture, *words) for picture, words in pictures if picture.exists()]


def sort_figures(figures: Sequence[Figure]) -> tuple[Figure | None, list[dict[str, Any]]]:
    """The comparison that opens the page, if there is one, and sections of all others; none is left out."""
    opening = next((f for f in figures if f.kind == "comparison"), None)
    rest = [f for f in figures if f is not opening]
    named = {kind for section in WORDS["sections"] for kind in section["kinds"]}
    more = {"anchor": "figures", "heading": "More figures", "kinds": {f.kind for f in rest} - named}
    sections = [
        {"intro": "", "folded": False, **section, "figures": [f for f in rest if f.kind in section["kinds"]]}
        for section in (*WORDS["sections"], more)
    ]
    return opening, [s for s in sections if s["figures"]]


def read_table(path: Path) -> dict[str, Any]:
    """The JSON twin of a table (`path` may name the CSV beside it) with its title; n/a becomes a dash.

    Raises UserError if it is no table.
    """

    def parse(text: str) -> dict[str, Any]:
        table = json.loads(text)
        for block in table["blocks"]:
            for row in block["rows"]:
                if len(row) != len(block["columns"]):
                    raise ValueError("rows of unequal length")
                for cell in row:
                    cell["text"] = DASH if cell["text"] in ("", NOT_AVAILABLE) else cell["text"]
        return {"blocks": table["blocks"], "notes": [str(note) for note in table["notes"]]}

    table = read(path.with_suffix(".json"), parse, "is not a readable table", "make it again")
    title, note = WORDS["tables"].get(path.stem, (path.stem, ""))
    return {"title": title, "note": note, **table}


def read_published(path: Path) -> list[dict[str, Any]]:
    """The JSON twin of the published numbers: {paper, title, blocks, notes} a table. Raises UserError."""

    def parse(text: str) -> list[dict[str, Any]]:
        return [{k: entry[k] for k in ("paper", "title", "blocks", "notes")} for entry in json.loads(text)]

    return read(path, parse, "holds no published numbers", "make it again")


def read_render_set(manifest: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """One render set: counts, quarantined objects with reasons, contact sheet, and credits by creator.

    Of a sharded set the counts and the first that failed; its shards' indexes have the credits. Raises
    UserError for a manifest that lacks a column.
    """
    name = manifest.parent.name
    title = {"train": "For alignment", "eval": "Held out"}.get(name, name)
    if is_sharded(manifest):
        shards = Archives(manifest).shards
        ok, total = (sum(getattr(shard, field) for shard in shards) for field in ("ok", "objects"))
        failed = read_failures(manifest.with_name(FAILURES), MAX_REASONS)
        counts = {"ok": ok, "total": total, "failed": failed, "failed_count": total - ok}
        where = {"sheet": None, "credits": [], "not_credited": ok, "listing": "shards' indexes"}
        return {"name": name, "title": title, **counts, **where}
    parse = partial(table_rows, columns=("id", "status", "reason", "licence", "creator"), separator="\t")
    rows = read(manifest, parse, "is not a readable table", "render the set again")
    shown = [{"stage": "", **row, "name": names.get(row["id"], row["id"])} for row in rows]
    good = [row for row in shown if row["status"] == "ok"]
    failed = [row for row in shown if row["status"] != "ok"]
    thanks: dict[tuple[str, str], list[str]] = {}
    for row in good[:MAX_CREDITS]:
        key = (row["creator"] or "unknown creator", row["licence"] or "unknown licence")
        thanks.setdefault(key, []).append(row["name"])
    sheet, alt = manifest.parent / "contact_sheet.png", f"Input views of the {len(good)} rendered objects"
    links = WORDS["licences"]
    return {
        "name": name,
        "title": title,
        "ok": len(good),
        "total": len(rows),
        "failed": failed[:MAX_REASONS],
        "failed_count": len(failed),
        "sheet": embed(sheet, name, f"{alt} of the {name} set", "") if sheet.exists() else None,
        "credits": [
            {"creator": creator, "licence": licence, "link": links.get(licence), "objects": sorted(objects)}
            for (creator, licence), objects in sorted(thanks.items(), key=lambda item: item[0][0].lower())
        ],
        "not_credited": max(0, len(good) - MAX_CREDITS),
        "listing": "manifest",
    }


def stage_seconds(folder: Path) -> list[tuple[str, float, float]]:
    """(stage, seconds, CPU seconds) from the workflow's benchmarks (`<stage>/**.jsonl`).

    Unreadable lines are skipped; a stage of which one says nothing of CPU seconds has NaN.
    """
    totals: dict[str, tuple[float, float]] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        stage = path.relative_to(folder).parts[0]
        for line in path.read_text(encoding="utf-8").splitlines():
            seconds, computed = totals.get(stage, (0.0, 0.0))
            try:
                job = json.loads(line)
                totals[stage] = seconds + float(job["s"]), computed + float(job.get("cpu_time", math.nan))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
    return [(stage, *both) for stage, both in totals.items()]


def write_report(job: PaperJob, inputs: ReportInputs, out: Path) -> None:
    """Write `out` from files alone. Raises UserError for a file given here that cannot be read."""
    names = object_names(job)
    sets = [read_render_set(path, names) for path in inputs.renders]
    credited = {**names, **{i: f"{names.get(i, i)}, by {made}" for i, made in object_credits(job).items()}}
    groups = read_models(job, inputs.samples, [path.parent for path in inputs.renders], credited)
    steps = groups[0].steps if groups else lead_row(job.rows).steps
    opening, sections = sort_figures(read_figures(inputs.figures))
    table1 = next((path for path in inputs.tables if path.stem == "table1"), None)
    headline = read_headline(job, table1.with_suffix(".csv")) if table1 else None
    bundled = [row.method for row in job.rows if row.run and not row.trained]
    page = render_template(
        "report.html",
        folder=TEMPLATES,
        css=template_text("viewer.css") + template_text("report.css", TEMPLATES),
        js=template_text("viewer.js"),
        job=job,
        headline=headline,
        sentence=render_text(WORDS["headline"], **headline._asdict()) if headline else "",
        opening=opening,
        groups=groups,
        steps=NUMBERS[steps] if steps < len(NUMBERS) else str(steps),
        tables=[read_table(path) for path in inputs.tables],
        published=read_published(inputs.reported) if inputs.reported else [],
        sections=sections,
        sets=sets,
        held_out=next((s for s in sets if s["name"] == "eval"), sets[-1] if sets else {"ok": 0})["ok"],
        demo_weights=all(pair.demo for pair in job.pairs),
        bundled=bundled,
        commit=commit(),
        version=__version__,
        machine=hardware(),
        stages=stage_seconds(out.parent / "benchmarks"),
    )
    write_text(out, page)
