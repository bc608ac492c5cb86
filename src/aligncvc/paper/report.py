"""`results/report.html`: one self-contained page with models to turn, tables, figures and credits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aligncvc import __version__
from aligncvc.config.jobs.paper import PaperJob
from aligncvc.files import write_text
from aligncvc.hardware import hardware
from aligncvc.paper.pair_results import lead_method, object_names
from aligncvc.paper.report_models import read_models
from aligncvc.paper.report_parts import (
    read_figures,
    read_published,
    read_render_set,
    read_table,
    sort_figures,
    stage_seconds,
)  # fmt: skip
from aligncvc.viewer.templating import render_template, template_text

TEMPLATES = Path(__file__).resolve().parent / "templates"

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def in_words(count: int) -> str:
    """0..10 as words, others as digits."""
    return WORDS[count] if 0 <= count < len(WORDS) else str(count)


def lead_steps(job: PaperJob) -> int:
    """Denoising steps of the method that the report is about."""
    lead = lead_method(job.rows)
    return next(row.steps for row in job.rows if row.method == lead)


def protocol_card(job: PaperJob, objects: int) -> list[tuple[str, str]]:
    """What the numbers were measured by, as (name, value)."""
    protocol, render = job.protocol, job.protocol.render
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


def made_by(job: PaperJob) -> list[tuple[str, str]]:
    """How the page was made, as (name, value)."""
    render = job.protocol.render
    renders = (
        f"{render.size_px} px, {render.ring_views} views an object, {render.samples} Cycles samples a pixel"
    )
    pairs = [f"{p.name} ({p.generator}, {p.reconstructor}, {p.views} views)" for p in job.pairs]
    return [
        (f"Pair{'s' * (len(pairs) > 1)} of networks", "; ".join(pairs)),
        ("Settings of this page", f"sha256 {job.hash}"),
        ("Code", f"aligncvc {__version__}"),
        ("Seed", f"{job.seed}; sampling {', '.join(map(str, job.seeds))}"),
        ("Protocol", job.protocol.slug),
        ("Renders of held-out objects", renders),
        ("This page was written on", hardware()),
    ]


def write_report(
    job: PaperJob,
    tables: Sequence[Path],
    figures: Path,
    samples: Sequence[Path],
    renders: Sequence[Path],
    out: Path,
    reported: Path | None = None,
) -> None:
    """Write `out` from files alone; what a run did not make (a figure, a contact sheet, timings) is left out.

    Args:
        job: Rows, pairs, protocol.
        tables: CSVs with a JSON twin.
        figures: index.json of the figures.
        samples: manifest.json of each pair and method.
        renders: manifest.tsv of each render set.
        out: HTML file to write.
        reported: JSON of the published numbers.

    Raises UserError for a file given here that cannot be read.
    """
    names = object_names(job)
    sets = [read_render_set(path, names) for path in renders]
    held_out = next((s for s in sets if s["name"] == "eval"), sets[-1] if sets else {"ok": 0})["ok"]
    groups = read_models(job, samples, [path.parent for path in renders], names)
    teaser, sections = sort_figures(read_figures(figures))
    page = render_template(
        "report.html",
        folder=TEMPLATES,
        css=template_text("viewer.css") + template_text("report.css", TEMPLATES),
        js=template_text("viewer.js"),
        teaser=teaser,
        groups=groups,
        steps=in_words(groups[0].steps if groups else lead_steps(job)),
        tables=[read_table(path) for path in tables],
        protocol=protocol_card(job, held_out),
        published=read_published(reported) if reported else [],
        sections=sections,
        sets=sets,
        held_out=held_out,
        size_px=job.protocol.render.size_px,
        demo_weights=all(pair.demo for pair in job.pairs),
        pair=", ".join(pair.name for pair in job.pairs),
        facts=made_by(job),
        stages=stage_seconds(out.parent / "benchmarks"),
    )
    write_text(out, page)
