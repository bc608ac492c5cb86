"""`results/report.html`: one self-contained page with models to turn, tables, figures and credits."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from aligncvc import __version__
from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import UserError
from aligncvc.files import write_text
from aligncvc.hardware import hardware
from aligncvc.paper.inputs import ReportInputs
from aligncvc.paper.pair_results import lead_row, object_names, pixels_last, read_manifests
from aligncvc.paper.reading import TEMPLATES, read, shipped, table_rows
from aligncvc.paper.table_formats import DASH
from aligncvc.paper.table_rows import NOT_AVAILABLE
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians, load_ply
from aligncvc.scene.views import composite, load_png
from aligncvc.splat import rasterise
from aligncvc.viewer.pack import widen_to_pixels
from aligncvc.viewer.page import ViewSettings, viewer_html
from aligncvc.viewer.templating import data_uri, render_template, template_text

MAX_WIDTH_PX = 1600
MAX_CREDITS = 3000
"""Objects credited one by one; a larger set is credited in its manifest."""

POSTER_PX = 320
MODEL_BYTES = 8_000_000
"""Base64 of all models of one page; those beyond it are shown as pictures."""

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


class Model(NamedTuple):
    """One object of the report. html: the viewer, or a picture; input: a data: address, or None."""

    name: str
    html: str
    input: str | None
    gaussians: int
    live: bool


class PairModels(NamedTuple):
    """The models of one pair. method: what made them, as in the figures (`lead_row`)."""

    pair: str
    method: str
    steps: int
    models: list[Model]


def webp(image: Image.Image, quality: int = 90) -> str:
    """A picture as the data: address of a WebP."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality)
    return data_uri(buffer.getvalue(), ".webp")


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
    """The opening figure, if there is one, and the sections of all others; none is left out."""
    teaser = next((f for f in figures if f.kind == "teaser"), None)
    rest = [f for f in figures if f is not teaser]
    named = {kind for section in WORDS["sections"] for kind in section["kinds"]}
    more = {"anchor": "figures", "heading": "More figures", "kinds": {f.kind for f in rest} - named}
    sections = [
        {"intro": "", **section, "figures": [f for f in rest if f.kind in section["kinds"]]}
        for section in (*WORDS["sections"], more)
    ]
    return teaser, [s for s in sections if s["figures"]]


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

    Raises UserError for a manifest that lacks a column.
    """
    parse = partial(table_rows, columns=("id", "status", "reason", "licence", "creator"), separator="\t")
    rows = read(manifest, parse, "is not a readable table", "render the set again")
    shown = [{"stage": "", **row, "name": names.get(row["id"], row["id"])} for row in rows]
    good, name = [row for row in shown if row["status"] == "ok"], manifest.parent.name
    thanks: dict[tuple[str, str], list[str]] = {}
    for row in good[:MAX_CREDITS]:
        key = (row["creator"] or "unknown creator", row["licence"] or "unknown licence")
        thanks.setdefault(key, []).append(row["name"])
    sheet, alt = manifest.parent / "contact_sheet.png", f"Input views of the {len(good)} rendered objects"
    links = WORDS["licences"]
    return {
        "name": name,
        "title": {"train": "For alignment", "eval": "Held out"}.get(name, name),
        "ok": len(good),
        "total": len(rows),
        "failed": [row for row in shown if row["status"] != "ok"],
        "sheet": embed(sheet, name, f"{alt} of the {name} set", "") if sheet.exists() else None,
        "credits": [
            {"creator": creator, "licence": licence, "link": links.get(licence), "objects": sorted(objects)}
            for (creator, licence), objects in sorted(thanks.items(), key=lambda item: item[0][0].lower())
        ],
        "not_credited": max(0, len(good) - MAX_CREDITS),
    }


def stage_seconds(folder: Path) -> list[tuple[str, float]]:
    """Seconds by stage from the workflow's benchmarks (`<stage>/**.jsonl`); unreadable lines are skipped."""
    totals: dict[str, float] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        stage = path.relative_to(folder).parts[0]
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                totals[stage] = totals.get(stage, 0.0) + float(json.loads(line)["s"])
            except (ValueError, KeyError, TypeError):
                continue
    return list(totals.items())


def picture(image: Tensor) -> str:
    """A (3, H, W) image in [0, 1] as a data: address."""
    return webp(Image.fromarray(pixels_last((image.clamp(0, 1) * 255).round().byte())), quality=88)


@torch.no_grad()
def poster(gaussians: Gaussians, view: ViewSettings) -> str:
    """The model from the viewer's first pose, as the data: address of a picture."""
    camera = orbit([view.azimuth_deg], view.elevation_deg, **view.lens, size_px=POSTER_PX)
    return picture(rasterise(gaussians, camera, background=1.0).rgb[0])


def input_picture(folders: Sequence[Path], object_id: str) -> str | None:
    """The input view on white, from the first render folder that has the object."""
    path = next((path for f in folders if (path := f / object_id / "000.png").exists()), None)
    if path is None:
        return None
    image = load_png(path)
    return picture(composite(image, 1.0) if image.shape[0] == 4 else image)


def read_models(
    job: PaperJob, manifests: Sequence[Path], folders: Sequence[Path], names: Mapping[str, str]
) -> list[PairModels]:
    """Of each pair the lead's first paper.viewer_models objects, one seed each, in their order.

    folders: of the renders, for the input views. Samples whose model.ply is missing are left out. Raises
    UserError for an unreadable manifest or model.
    """
    known, room = read_manifests(job, manifests), MODEL_BYTES
    view = ViewSettings.of(job.protocol.render)
    shown: list[PairModels] = []
    for pair in job.pairs:
        rows = [row for row in job.rows if row.pair == pair.name and (row.pair, row.method) in known]
        if not rows:
            continue
        lead, models = lead_row(rows), list[Model]()
        manifest = next(m for key, m in known.items() if key == (pair.name, lead.method))
        seeds = {name: min(s for n, s in manifest.entries if n == name) for name, _ in manifest.entries}
        plys = {name: manifest.path(name, seed) / "model.ply" for name, seed in seeds.items()}
        have = [name for name, ply in plys.items() if ply.exists()]
        for object_id in have[: job.paper.viewer_models]:
            gaussians = load_ply(plys[object_id])
            if len(gaussians) == 0:
                raise UserError(f"{plys[object_id]} holds no Gaussian; sample the object again")
            # seen at the size of a web page, the model must look as it did at its own resolution
            wide = widen_to_pixels(gaussians, pair.renderings_px, **view.lens)
            anchor = f"model-{object_id}" if not shown else f"model-{len(shown)}-{object_id}"
            name = names.get(object_id, object_id)
            label = f"{name}, a 3D model made from one picture"
            words: dict[str, Any] = {"label": label, "view": view, "poster": poster(wide, view)}
            page = viewer_html(anchor, wide, **words)
            live = len(page) <= room
            room -= len(page) if live else 0
            page = page if live else viewer_html(anchor, None, **words)
            models.append(Model(name, page, input_picture(folders, object_id), len(gaussians), live))
        shown.append(PairModels(pair.name, lead.method, lead.steps, models))
    return shown


def write_report(job: PaperJob, inputs: ReportInputs, out: Path) -> None:
    """Write `out` from files alone. Raises UserError for a file given here that cannot be read."""
    names = object_names(job)
    sets = [read_render_set(path, names) for path in inputs.renders]
    groups = read_models(job, inputs.samples, [path.parent for path in inputs.renders], names)
    steps = groups[0].steps if groups else lead_row(job.rows).steps
    teaser, sections = sort_figures(read_figures(inputs.figures))
    page = render_template(
        "report.html",
        folder=TEMPLATES,
        css=template_text("viewer.css") + template_text("report.css", TEMPLATES),
        js=template_text("viewer.js"),
        job=job,
        teaser=teaser,
        groups=groups,
        steps=NUMBERS[steps] if steps < len(NUMBERS) else str(steps),
        tables=[read_table(path) for path in inputs.tables],
        published=read_published(inputs.reported) if inputs.reported else [],
        sections=sections,
        sets=sets,
        held_out=next((s for s in sets if s["name"] == "eval"), sets[-1] if sets else {"ok": 0})["ok"],
        demo_weights=all(pair.demo for pair in job.pairs),
        version=__version__,
        machine=hardware(),
        stages=stage_seconds(out.parent / "benchmarks"),
    )
    write_text(out, page)
