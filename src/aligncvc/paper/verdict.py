"""`python -m aligncvc.paper.verdict`: the claims judged on held-out objects, written to docs/verdict/."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import yaml

from aligncvc.config import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.catalogue import SET_OBJECT
from aligncvc.evaluate.records import Record, concat
from aligncvc.files import PROJECT_ROOT, write_json, write_text
from aligncvc.ownership import claim_files, claim_folder
from aligncvc.paper.context import read_context
from aligncvc.paper.costs import read_hardware
from aligncvc.paper.data import Material, by_method, load_material, read_verdicts
from aligncvc.paper.figures import read_logs
from aligncvc.paper.pieces import object_names
from aligncvc.paper.style import styled
from aligncvc.paper.table_blocks import lay_out
from aligncvc.paper.table_formats import as_markdown
from aligncvc.paper.table_rows import build_rows
from aligncvc.paper.tables import as_csv, csv_cells
from aligncvc.paper.verdict_claims import LONG, OURS, PLAIN, TITLES, judge
from aligncvc.paper.verdict_figures import pictures, save_png
from aligncvc.paper.verdict_page import page
from aligncvc.paper.verdict_rules import Evidence, outcome
from aligncvc.paper.verdict_views import measured_once

TABLES = ("table1", "table2")
VIEWS = "verdict_views.csv"
"""Beside the results, because measuring it takes long."""
NOTES = PROJECT_ROOT / "config/verdict-notes.yaml"


def write_verdict(results: Path, out: Path, notes: Path = NOTES, force: bool = False) -> dict[str, Any]:
    """Judge the results of a run of the workflow and write verdict.json, README.md, tables and pictures.

    results: as the workflow lays it out (config.yaml, metrics/, sample/, renders/, align/); methods that have
    no records make their lines n/a. notes: YAML of explanations by claim, optional. Returns what verdict.json
    holds. Raises UserError if there are no results or they cannot be compared, or, unless force, if files of
    another origin lie where the verdict goes.
    """
    claim_folder(out, ["README.md", "verdict.json", *(f"{name}.csv" for name in TABLES)], force=force)
    claim_files([results / VIEWS, (results / VIEWS).with_suffix(".json")], force=force)
    config = load_config(results / "config.yaml")
    metrics, manifests = _inputs(results, config)
    discrimination = _there(results / "discrimination.csv")
    verdicts = read_verdicts(discrimination) if discrimination else {}
    records = concat(metrics)
    material = load_material(
        config, records, manifests, results / "renders/eval/manifest.tsv", verdicts, object_names(config)
    )
    extra = measured_once(
        results / VIEWS,
        config,
        material.samples,
        material.renders,
        [name for name in (LONG, PLAIN, OURS) if name in material.samples],
    )
    rows = read_memory(results / "memory.csv")
    evidence = Evidence(
        by_method([*records, *extra]), config.seed, verdicts, {row["variant"]: row for row in rows}
    )
    lines = judge(evidence, config.paper.columns)
    logs = read_logs(sorted(results.glob("align/*/metrics.jsonl")))
    about = facts(config, records, manifests, metrics, logs, rows)
    tables = write_tables(config, records, metrics, discrimination, out)
    drawn = draw(material, logs, out)
    verdict = {
        "about": about,
        "claims": {
            key: {"title": title, "holds": outcome([line for line in lines if line.claim == key])}
            for key, title in TITLES.items()
        },
        "lines": [line.facts for line in lines],
    }
    write_text(out / "README.md", page(about, lines, tables, drawn, read_notes(notes)))
    write_json(out / "verdict.json", verdict)
    return verdict


def _inputs(results: Path, config: Config) -> tuple[list[Path], list[Path]]:
    """CSVs of records by the configuration's protocol, and sample manifests, of methods and controls."""
    names = [*config.sample.methods, *(f"control-{name}" for name in config.evaluate.controls)]
    folder = results / "metrics" / config.protocol.slug
    metrics = [path for name in names if (path := folder / f"{name}.csv").is_file()]
    manifests = [p for name in names if (p := results / "sample" / name / "manifest.json").is_file()]
    if not metrics or not manifests:
        raise UserError(
            f"{folder} has no records, or {results / 'sample'} no samples, of the configuration's methods; "
            "run the workflow first (docs/verdict.md)"
        )
    return metrics, manifests


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def read_memory(path: Path) -> list[dict[str, str]]:
    """Rows of memory.csv: variant, peak_mb, weights_mb, hardware. None without the file, UserError if odd."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = [dict(row) for row in csv.DictReader(handle)]
        for row in rows:
            float(row["peak_mb"]), row["variant"], row["weights_mb"], row["hardware"]
        return rows
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no table of memory ({error!r}); make it with python -m aligncvc.align.memory"
        ) from error


def read_notes(path: Path) -> dict[str, str]:
    """Explanations by claim, {} without the file. Raises UserError for keys that are no claim."""
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        strangers = set(found) - set(TITLES)
        if strangers:
            raise ValueError(f"{sorted(map(str, strangers))} are none of {', '.join(TITLES)}")
        return {str(key): str(text) for key, text in found.items()}
    except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{path} holds no notes by claim ({error}); write `a: text`") from error


def facts(
    config: Config,
    records: Sequence[Record],
    manifests: Sequence[Path],
    metrics: Sequence[Path],
    logs: Mapping[str, Mapping[str, np.ndarray]],
    memory: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """What stands at the top: pair, objects, seeds, protocol, commit, hardware, date, training runs."""
    newest = max(path.stat().st_mtime for path in metrics)
    return {
        "pair": config.pair,
        "objects": len({r.object for r in records} - {SET_OBJECT}),
        "seeds": config.seeds,
        "protocol": config.protocol.slug,
        "protocol_hash": config.protocol.hash,
        "commit": commit(),
        "hardware": list(dict.fromkeys(read_hardware(manifests).values())),
        "date": datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": [
            {"run": n, "steps": len(log["step"]), "seconds": round(float(np.nansum(log["seconds"])), 1)}
            for n, log in logs.items()
            if "seconds" in log
        ],
        "memory": [dict(row) for row in memory],
    }


def commit() -> str:
    """The checkout's commit, with a word if files of it were changed since; "unknown" without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "config", "workflow")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (" with changes" if changed else "")


def write_tables(
    config: Config,
    records: Sequence[Record],
    metrics: Sequence[Path],
    discrimination: Path | None,
    out: Path,
) -> dict[str, str]:
    """Write table1.csv and table2.csv; returns both as Markdown."""
    context, found = read_context(metrics, discrimination), {}
    for name in TABLES:
        rows = build_rows(config, name, records)
        write_text(out / f"{name}.csv", as_csv([csv_cells(rows, row) for row in rows.rows]))
        found[name] = as_markdown(lay_out(config, rows, context))
    return found


def draw(
    material: Material, logs: Mapping[str, Mapping[str, np.ndarray]], out: Path
) -> list[tuple[str, str, str]]:
    """Write the pictures; returns file, caption and alt text of each."""
    with styled():
        return [
            (save_png(out, name, drawn.figure), drawn.caption, drawn.alt)
            for name, drawn in pictures(material, logs)
        ]


def verdict(results: Path, out: Path, notes: Path = NOTES, force: bool = False) -> None:
    """Judge the claims of the paper by the results of a run and write verdict.json and README.md.

    Args:
        results: the run's results folder, such as results/verdict/results.
        out: folder to write, such as docs/verdict.
        notes: YAML of explanations by claim (a to f, goal, table1, copy, control); optional.
        force: write into `out` even if it holds files of another origin (a checkout's docs/verdict, which
            carries no list of what was written), and replace those of the same name.
    """
    found = write_verdict(results, out, notes, force)
    words = {True: "holds", False: "does not hold", None: "n/a"}
    for key, claim in found["claims"].items():
        print(f"{key}: {words[claim['holds']]}: {claim['title']}")
    print(json.dumps({"page": str(out / "README.md"), "lines": len(found["lines"])}))


if __name__ == "__main__":
    cli(lambda: tyro.cli(verdict))
