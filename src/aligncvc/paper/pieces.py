"""What the report is put together from, each read from its files: figures, tables, render sets, timings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.objects.listing import read_list
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

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Figure:
    """A picture of the page. src: a data: address; width, height: pixels, which keep its place."""

    name: str
    src: str
    width: int
    height: int
    alt: str
    caption: str


def in_words(count: int) -> str:
    """0..10 as words, others as digits."""
    return _WORDS[count] if 0 <= count < len(_WORDS) else str(count)


def embed(path: Path, name: str, alt: str, caption: str) -> Figure:
    """An image file as a WebP of at most MAX_WIDTH_PX. Raises UserError if it is not an image."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise UserError(f"{path} is not a readable image ({error}); make it again") from error
    if image.width > MAX_WIDTH_PX:
        image = image.resize(
            (MAX_WIDTH_PX, round(image.height * MAX_WIDTH_PX / image.width)), Image.Resampling.LANCZOS
        )
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=90)
    return Figure(name, data_uri(buffer.getvalue(), ".webp"), image.width, image.height, alt, caption)


def read_figures(index: Path) -> list[Figure]:
    """The figures of an index.json that have a PNG or WebP beside it. Raises UserError for a bad index."""
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
        rows = [
            (str(e["name"]), [str(f) for f in e["files"]], str(e["alt"]), str(e["caption"])) for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is no index of figures ({error!r}); draw the figures again") from error
    figures = []
    for name, files, alt, caption in rows:
        paths = [index.parent / f for f in files if f.endswith((".png", ".webp"))]
        if paths and paths[0].exists():
            figures.append(embed(paths[0], name, alt, caption))
    return figures


def _rows(path: Path, delimiter: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a readable table ({error}); make it again") from error
    if any(None in row or None in row.values() for row in rows):
        raise UserError(f"{path} has lines of unequal length; make it again")
    return rows


def read_table(path: Path) -> dict[str, Any]:
    """The JSON twin of a table (`path` may name the CSV beside it) with its title; n/a becomes a dash.

    Raises UserError if it is no table.
    """
    twin = path.with_suffix(".json")
    try:
        data = json.loads(twin.read_text(encoding="utf-8"))
        for block in data["blocks"]:
            for row in block["rows"]:
                if len(row) != len(block["columns"]):
                    raise ValueError("rows of unequal length")
                for cell in row:
                    cell["text"] = DASH if cell["text"] in ("", NOT_AVAILABLE) else cell["text"]
        notes = [str(note) for note in data["notes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{twin} is not a readable table ({error!r}); make it again") from error
    title, note = TITLES.get(path.stem, (path.stem, ""))
    return {"name": path.stem, "title": title, "note": note, "blocks": data["blocks"], "notes": notes}


def read_published(path: Path) -> list[dict[str, Any]]:
    """The JSON twin of the published numbers: {paper, title, blocks, notes} a table. Raises UserError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [{key: entry[key] for key in ("paper", "title", "blocks", "notes")} for entry in data]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no published numbers ({error!r}); make it again") from error


def object_names(config: Config) -> dict[str, str]:
    """Display names by id, from the object lists that the configuration names and that exist."""
    names: dict[str, str] = {}
    lists = {config.object_set(name).list for name in config.objects.sets}
    for path in sorted(PROJECT_ROOT / name for name in lists if name is not None):
        if path.exists():
            names |= {row.id: row.name for row in read_list(path, ("id",)) if row.name}
    return names


def read_render_set(manifest: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """One render set: counts, quarantined objects with reasons, contact sheet, and credits by creator.

    Raises UserError for a manifest that lacks a column.
    """
    rows = _rows(manifest, "\t")
    missing = {"id", "status", "reason", "licence", "creator"} - set(rows[0] if rows else ())
    if rows and missing:
        raise UserError(f"{manifest} lacks the columns {sorted(missing)}; render the set again")
    good = [row for row in rows if row["status"] == "ok"]
    sheet = manifest.parent / "contact_sheet.png"
    name = manifest.parent.name
    thanks: dict[tuple[str, str], list[str]] = {}
    for row in good[:MAX_CREDITS]:
        key = (row["creator"] or "unknown creator", row["licence"] or "unknown licence")
        thanks.setdefault(key, []).append(names.get(row["id"], row["id"]))
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
        "sheet": embed(sheet, name, f"Input views of the {len(good)} rendered objects of the {name} set", "")
        if sheet.exists()
        else None,
        "credits": [
            {
                "creator": creator,
                "licence": licence,
                "link": LICENCES.get(licence),
                "objects": sorted(objects),
            }
            for (creator, licence), objects in sorted(thanks.items(), key=lambda item: item[0][0].lower())
        ],
        "not_credited": max(0, len(good) - MAX_CREDITS),
    }


def stage_seconds(folder: Path) -> list[tuple[str, float]]:
    """Seconds by stage from the workflow's benchmarks (`<stage>/*.jsonl`); unreadable lines are skipped."""
    totals: dict[str, float] = {}
    for path in sorted(folder.glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                seconds = float(json.loads(line)["s"])
            except (ValueError, KeyError, TypeError):
                continue
            totals[path.parent.name] = totals.get(path.parent.name, 0.0) + seconds
    return list(totals.items())
