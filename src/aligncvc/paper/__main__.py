"""`python -m aligncvc.paper table|figures|report`: the paper from records, samples and renders."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from aligncvc.config import load_config
from aligncvc.errors import cli


def table(table: str, metrics: list[Path], out: Path, config: Path | None = None) -> None:
    """Aggregate records into one table: CSV, with Markdown and LaTeX beside it.

    Args:
        table: Which table: table1 (methods) or table2 (ablation of the alignment losses).
        metrics: CSVs of records that python -m aligncvc.evaluate wrote.
        out: CSV to write; .md and .tex come beside it.
        config: Configuration; config/config.yaml if left out.
    """
    from aligncvc.paper.tables import write_table

    rows = write_table(load_config(config), table, metrics, out)
    print(out.with_suffix(".md").read_text(encoding="utf-8"), end="")
    for row in rows:
        if row["objects"] == "0":
            print(f"{row['method']} has no records: its cells say n/a", file=sys.stderr)


def figures(
    metrics: list[Path],
    samples: list[Path],
    renders: Path,
    out: Path,
    align: tuple[Path, ...] = (),
    config: Path | None = None,
) -> None:
    """Draw the figures as PNG, SVG and PDF, and list them in index.json.

    Args:
        metrics: CSVs of records that python -m aligncvc.evaluate wrote.
        samples: manifest.json of each method that python -m aligncvc.sample wrote.
        renders: manifest.tsv of the ground-truth renders.
        out: Folder to write into.
        align: metrics.jsonl of each alignment run; without one there is no training figure.
        config: Configuration; config/config.yaml if left out.
    """
    from aligncvc.paper.figures import write_figures

    for entry in write_figures(load_config(config), metrics, samples, renders, align, out):
        print(f"{entry['name']}: {entry['caption']}")


def report(
    tables: list[Path],
    figures: Path,
    samples: list[Path],
    renders: list[Path],
    out: Path,
    config: Path | None = None,
) -> None:
    """Put tables, figures and models to turn into one self-contained HTML page.

    Args:
        tables: CSVs that the table command wrote.
        figures: index.json that the figures command wrote.
        samples: manifest.json of each method that python -m aligncvc.sample wrote.
        renders: manifest.tsv of each render set.
        out: HTML file to write.
        config: Configuration; config/config.yaml if left out.
    """
    from aligncvc.paper.report import write_report

    write_report(load_config(config), tables, figures, samples, renders, out)


def main() -> None:
    tyro.extras.subcommand_cli_from_dict(
        {"table": table, "figures": figures, "report": report}, prog="python -m aligncvc.paper"
    )


if __name__ == "__main__":
    cli(main)
