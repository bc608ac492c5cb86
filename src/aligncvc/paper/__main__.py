"""`python -m aligncvc.paper table|costs|reported|figures|report`: the paper from files alone."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from aligncvc.config import load_config
from aligncvc.errors import cli
from aligncvc.ownership import claim_files, claim_folder


def table(
    table: str,
    metrics: list[Path],
    out: Path,
    discrimination: Path | None = None,
    reported: tuple[Path, ...] = (),
    config: Path | None = None,
    force: bool = False,
) -> None:
    """Aggregate records into one table: CSV, with Markdown, LaTeX and JSON beside it.

    Args:
        table: Which table: table1 (methods) or table2 (ablation of the alignment losses).
        metrics: CSVs of records that python -m aligncvc.evaluate wrote; methods that the configuration lacks
            become rows of their own.
        out: CSV to write; .md, .tex and .json come beside it.
        discrimination: discrimination.csv of the controls; metrics that tell nothing apart are marked.
        reported: CSVs of published numbers, shown where their protocol class is the records'.
        config: Configuration; config/config.yaml if left out.
        force: Replace files of another origin where the results go.
    """
    from aligncvc.paper.tables import twins, write_table

    claim_files([out, *twins(out)], inputs=[*metrics, *reported], force=force)
    found = write_table(load_config(config), table, metrics, out, discrimination, reported)
    print(out.with_suffix(".md").read_text(encoding="utf-8"), end="")
    for row in found.rows:
        if not row.objects:
            print(f"{row.method} has no records: its cells say n/a", file=sys.stderr)


def costs(
    metrics: list[Path], samples: list[Path], out: Path, config: Path | None = None, force: bool = False
) -> None:
    """Seconds by part, network calls, peak memory and hardware of each method: CSV and twins.

    Args:
        metrics: CSVs of records that python -m aligncvc.evaluate wrote.
        samples: manifest.json of each method that python -m aligncvc.sample wrote.
        out: CSV to write; .md, .tex and .json come beside it.
        config: Configuration; config/config.yaml if left out.
        force: Replace files of another origin where the results go.
    """
    from aligncvc.paper.costs import write_costs
    from aligncvc.paper.tables import twins

    claim_files([out, *twins(out)], inputs=[*metrics, *samples], force=force)
    write_costs(load_config(config), metrics, samples, out)
    print(out.with_suffix(".md").read_text(encoding="utf-8"), end="")


def reported(reported: list[Path], out: Path, force: bool = False) -> None:
    """List published numbers with their protocols as a Markdown page.

    Args:
        reported: CSVs such as config/reported/*.csv.
        out: Markdown file to write; .json comes beside it.
        force: Replace files of another origin where the results go.
    """
    from aligncvc.paper.reported import write_reported

    claim_files([out, out.with_suffix(".json")], inputs=reported, force=force)
    print(f"{out}: {write_reported(reported, out)} published numbers")


def figures(
    metrics: list[Path],
    samples: list[Path],
    renders: Path,
    out: Path,
    align: tuple[Path, ...] = (),
    discrimination: Path | None = None,
    config: Path | None = None,
    force: bool = False,
) -> None:
    """Draw the figures as PNG, SVG and PDF, and list them in index.json.

    Args:
        metrics: CSVs of records that python -m aligncvc.evaluate wrote.
        samples: manifest.json of each method and control.
        renders: manifest.tsv of the ground-truth renders.
        out: Folder to write into.
        align: metrics.jsonl of each alignment run; without one there is no training figure.
        discrimination: discrimination.csv of the controls; metrics that tell nothing apart are shown grey.
        config: Configuration; config/config.yaml if left out.
        force: Write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    from aligncvc.paper.figures import figure_files, write_figures

    claim_folder(out, figure_files(), force=force)
    found = write_figures(load_config(config), metrics, samples, renders, align, out, discrimination)
    for entry in found:
        print(f"{entry['name']}: {entry['caption']}")


def report(
    tables: list[Path],
    figures: Path,
    samples: list[Path],
    renders: list[Path],
    out: Path,
    reported: Path | None = None,
    config: Path | None = None,
    force: bool = False,
) -> None:
    """Put tables, figures and models to turn into one self-contained HTML page.

    Args:
        tables: CSVs that the table and costs commands wrote, with their .json beside them.
        figures: index.json that the figures command wrote.
        samples: manifest.json of each method that python -m aligncvc.sample wrote.
        renders: manifest.tsv of each render set.
        out: HTML file to write.
        reported: .json that the reported command wrote beside its page.
        config: Configuration; config/config.yaml if left out.
        force: Replace `out` even if it is of another origin.
    """
    from aligncvc.paper.report import write_report

    claim_files([out], inputs=[*tables, figures, *samples, *renders], force=force)
    write_report(load_config(config), tables, figures, samples, renders, out, reported)


def main() -> None:
    tyro.extras.subcommand_cli_from_dict(
        {"table": table, "costs": costs, "reported": reported, "figures": figures, "report": report},
        prog="python -m aligncvc.paper",
    )


if __name__ == "__main__":
    cli(main)
