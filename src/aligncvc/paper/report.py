"""`results/report.html`: one self-contained page with models to turn, tables, figures and credits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aligncvc import __version__
from aligncvc.config.sections import Config
from aligncvc.files import sha256_json, write_text
from aligncvc.hardware import hardware
from aligncvc.paper.models import chosen_method, read_models
from aligncvc.paper.pieces import (
    Figure,
    in_words,
    object_names,
    read_figures,
    read_published,
    read_render_set,
    read_table,
    stage_seconds,
)
from aligncvc.viewer.templating import render_template, template_text

TEMPLATES = Path(__file__).resolve().parent / "templates"

SECTIONS = (
    ("comparison", "Side by side", ("comparison",), ""),
    (
        "consistency",
        "Consistency, step by step",
        ("agreement", "consistency"),
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
    ("cost", "Quality against cost", ("cost",), ""),
    ("training", "Training", ("training",), ""),
)
"""Anchor, heading, the words in a figure's name that put it there, and an opening line."""


def sort_figures(figures: Sequence[Figure]) -> tuple[Figure | None, list[dict[str, Any]]]:
    """The opening figure, if there is one, and the sections of all others; none is left out."""
    teaser = next((f for f in figures if "teaser" in f.name), None)
    rest = [f for f in figures if f is not teaser]
    sections = []
    for anchor, heading, words, intro in SECTIONS:
        members = [f for f in rest if any(word in f.name for word in words)]
        rest = [f for f in rest if f not in members]
        sections.append({"anchor": anchor, "heading": heading, "figures": members, "intro": intro})
    sections.append({"anchor": "figures", "heading": "More figures", "figures": rest, "intro": ""})
    return teaser, [s for s in sections if s["figures"]]


def protocol_card(config: Config, objects: int) -> list[tuple[str, str]]:
    """What the numbers were measured by, as (name, value)."""
    protocol = config.protocol
    render = protocol.render
    views = {"ring": "all"}.get(protocol.views.scored, protocol.views.scored.replace("_", " "))
    seeds = ", ".join(map(str, protocol.seeds))
    return [
        ("Protocol", f"{protocol.slug}: {protocol.about}"),
        ("Class", f"{protocol.protocol_class}; only numbers of one class may be compared"),
        ("Objects", f"{objects} held out; sampling seed{'s' * (len(protocol.seeds) != 1)} {seeds}"),
        (
            "Views",
            f"{render.ring_views} a ring at {render.size_px} px, field of view {render.fov_y_deg:g}°, "
            f"elevation {render.elevation_deg:g}°; scored: {views}, over grey {protocol.background:g}",
        ),
    ]


def write_report(
    config: Config,
    tables: Sequence[Path],
    figures: Path,
    samples: Sequence[Path],
    renders: Sequence[Path],
    out: Path,
    reported: Path | None = None,
) -> None:
    """Write `out` from files alone; what a run did not make (a figure, a contact sheet, timings) is left out.

    tables: CSVs with a JSON twin; figures: index.json; samples: manifest.json of each method; renders:
    manifest.tsv of each set; reported: JSON of the published numbers. Raises UserError for a file given here
    that cannot be read.
    """
    names = object_names(config)
    sets = [read_render_set(path, names) for path in renders]
    held_out = next((s for s in sets if s["name"] == "eval"), sets[-1] if sets else None)
    method, models = read_models(config, samples, [path.parent for path in renders], names)
    teaser, sections = sort_figures(read_figures(figures))
    render = config.protocol.render
    rendering = (
        f"{render.size_px} px, {render.ring_views} views an object, {render.samples} Cycles samples a pixel"
    )
    shown = config.sample.methods.get(method or "") or chosen_method(config)[1]
    page = render_template(
        "report.html",
        folder=TEMPLATES,
        css=template_text("viewer.css") + template_text("report.css", TEMPLATES),
        js=template_text("viewer.js"),
        teaser=teaser,
        models=models,
        method=method,
        steps=in_words(shown.steps),
        tables=[read_table(path) for path in tables],
        protocol=protocol_card(config, held_out["ok"] if held_out else 0),
        published=read_published(reported) if reported else [],
        sections=sections,
        sets=sets,
        held_out=held_out["ok"] if held_out else 0,
        size_px=config.render.size_px,
        demo_weights=str(config.mvg.weights).startswith("demo")
        and str(config.recon.weights).startswith("demo"),
        pair=config.pair,
        facts=[
            ("Pair of networks", config.pair),
            ("Configuration", f"sha256 {sha256_json(config.model_dump(mode='json'))[:16]}"),
            ("Code", f"aligncvc {__version__}"),
            ("Seed", f"{config.seed}; sampling {', '.join(map(str, config.seeds))}"),
            ("Protocol", config.protocol.slug),
            ("Renders of held-out objects", rendering),
            ("This page was written on", hardware()),
        ],
        stages=stage_seconds(out.parent / "benchmarks"),
    )
    write_text(out, page)
