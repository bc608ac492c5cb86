"""What the report is put together from, each read from its files: figures, tables, render sets, timings."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from aligncvc.errors import UserError
from aligncvc.paper.reading import read, table_rows
from aligncvc.paper.table_formats import DASH
from aligncvc.paper.table_rows import NOT_AVAILABLE
from aligncvc.viewer.templating import data_uri

MAX_WIDTH_PX = 1600
MAX_CREDITS = 3000
"""Objects credited one by one; a larger set is credited in its manifest."""

TITLES = {
    "table1": ("Methods", "Quality, consistency and cost on the held-out objects."),
    "table2": ("Ablation", "What each alignment loss adds, and what the number of steps does."),
    "costs": ("Cost", "What one object takes."),
}

LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}

SECTIONS = (
    ("comparison", "Side by side", ("teaser", "comparison"), ""),
    (
        "consistency",
        "Consistency, step by step",
        ("agreement", "consistency_curves"),
        "Views that a generator imagines one by one disagree; renderings of one model cannot. Does sampling "
        "bring the two together?",
    ),
    (
        "controls",
        "Controls, and which metrics to believe",
        ("controls",),
        "A metric of consistency is worth its name only where it ranks true views above disturbed ones, and "
        "those above views of different objects. Each was put to that test on these objects and this rig.",
    ),
    ("cost", "Quality against cost", ("quality_vs_cost",), ""),
    ("training", "Training", ("training",), ""),
)
"""Anchor, heading, the figures that stand there, and an opening line."""


@dataclass(frozen=True)
class Figure:
    """A picture of the page. kind: its name without the pair; src: a data: address; width, height: pixels."""

    kind: str
    src: str
    width: int
    height: int
    alt: str
    caption: str


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

    def parse(text: str) -> list[tuple[str, list[str], str, str]]:
        return [
            (str(e["name"]).removesuffix(f"_{e['pair']}"), list(e["files"]), str(e["alt"]), str(e["caption"]))
            for e in json.loads(text)
        ]

    rows = read(index, parse, "is no index of figures", "draw the figures again")
    figures = []
    for kind, files, alt, caption in rows:
        picture = next((index.parent / f for f in files if f.endswith(".png")), None)
        if picture is not None and picture.exists():
            figures.append(embed(picture, kind, alt, caption))
    return figures


def sort_figures(figures: Sequence[Figure]) -> tuple[Figure | None, list[dict[str, Any]]]:
    """The opening figure, if there is one, and the sections of all others; none is left out."""
    teaser = next((f for f in figures if f.kind == "teaser"), None)
    rest = [f for f in figures if f is not teaser]
    named = {kind for _, _, kinds, _ in SECTIONS for kind in kinds}
    more = tuple(dict.fromkeys(f.kind for f in rest if f.kind not in named))
    sections = [
        {
            "anchor": anchor,
            "heading": heading,
            "figures": [f for f in rest if f.kind in kinds],
            "intro": intro,
        }
        for anchor, heading, kinds, intro in (*SECTIONS, ("figures", "More figures", more, ""))
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
    title, note = TITLES.get(path.stem, (path.stem, ""))
    return {"name": path.stem, "title": title, "note": note, **table}


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
    good, name = [row for row in rows if row["status"] == "ok"], manifest.parent.name
    thanks: dict[tuple[str, str], list[str]] = {}
    for row in good[:MAX_CREDITS]:
        key = (row["creator"] or "unknown creator", row["licence"] or "unknown licence")
        thanks.setdefault(key, []).append(names.get(row["id"], row["id"]))
    sheet, alt = manifest.parent / "contact_sheet.png", f"Input views of the {len(good)} rendered objects"
    credits = [
        {"creator": creator, "licence": licence, "link": LICENCES.get(licence), "objects": sorted(objects)}
        for (creator, licence), objects in sorted(thanks.items(), key=lambda item: item[0][0].lower())
    ]
    return {
        "name": name,
        "title": {"train": "For alignment", "eval": "Held out"}.get(name, name),
        "ok": len(good),
        "total": len(rows),
        "failed": [
            {"name": names.get(row["id"], row["id"]), "stage": row.get("stage", ""), "reason": row["reason"]}
            for row in rows
            if row["status"] != "ok"
        ],
        "sheet": embed(sheet, name, f"{alt} of the {name} set", "") if sheet.exists() else None,
        "credits": credits,
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
