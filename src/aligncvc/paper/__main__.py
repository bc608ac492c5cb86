"""`python -m aligncvc.paper table|costs|reported|figures|report|verdict`: the paper from files alone.

Settings come from `--settings`, the file that the workflow wrote to results/settings, or are made from
`--config`; without both, from config/config.yaml.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.errors import cli


def read_job(settings: Path | None, config: Path | None) -> PaperJob:
    """The settings file, else those that the plan makes of a configuration."""
    if settings is not None:
        return PaperJob.read(settings)
    from aligncvc.config.plan import Plan
    from aligncvc.config.root import load_config

    return Plan(load_config(config)).paper()


def table(
    table: str,
    metrics: list[Path],
    out: Path,
    discrimination: Path | None = None,
    reported: tuple[Path, ...] = (),
    settings: Path | None = None,
    config: Path | None = None,
) -> None:
    """Aggregate records into one table: CSV, with Markdown, LaTeX and JSON beside it.

    Args:
        table: Which table: table1 (methods) or table2 (ablation of the alignment losses).
        metrics: CSVs of records that python -m aligncvc.evaluate wrote; methods that the configuration lacks
            become rows of their own.
        out: CSV to write; .md, .tex and .json come beside it.
        discrimination: discrimination.csv of the controls; metrics that tell nothing apart are marked.
        reported: CSVs of published numbers, shown where their protocol class is the records'.
        settings: Settings file of the stage.
        config: Configuration, instead of settings.
    """
    from aligncvc.paper.tables import write_table

    rows = write_table(read_job(settings, config), table, metrics, out, discrimination, reported).rows
    print(out.with_suffix(".md").read_text(encoding="utf-8"), end="")
    for row in rows:
        if not row.objects:
            print(f"{row.key.method} of {row.key.pair} has no records: its cells say n/a", file=sys.stderr)


def costs(
    metrics: list[Path],
    samples: list[Path],
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
) -> None:
    """Seconds by part, network calls, peak memory and hardware of each method: CSV and twins.

    Args:
        metrics: CSVs of records that python -m aligncvc.evaluate wrote.
        samples: manifest.json of each pair and method that python -m aligncvc.sample wrote.
        out: CSV to write; .md, .tex and .json come beside it.
        settings: Settings file of the stage.
        config: Configuration, instead of settings.
    """
    from aligncvc.paper.costs import write_costs

    write_costs(read_job(settings, config), metrics, samples, out)
    print(out.with_suffix(".md").read_text(encoding="utf-8"), end="")


def reported(reported: list[Path], out: Path) -> None:
    """List published numbers with their protocols as a Markdown page.

    Args:
        reported: CSVs such as config/reported/*.csv.
        out: Markdown file to write; .json comes beside it.
    """
    from aligncvc.paper.reported import write_reported

    print(f"{out}: {write_reported(reported, out)} published numbers")


def figures(
    metrics: list[Path],
    samples: list[Path],
    renders: Path,
    out: Path,
    align: tuple[Path, ...] = (),
    discrimination: Path | None = None,
    settings: Path | None = None,
    config: Path | None = None,
) -> None:
    """Draw the figures of each pair as PNG, SVG and PDF, and list them in index.json.

    Args:
        metrics: CSVs of records that python -m aligncvc.evaluate wrote.
        samples: manifest.json of each pair and method, and of each control.
        renders: manifest.tsv of the ground-truth renders.
        out: Folder to write into.
        align: <pair>/<run>/metrics.jsonl of each alignment run; without one there is no training figure.
        discrimination: discrimination.csv of the controls; metrics that tell nothing apart are shown grey.
        settings: Settings file of the stage.
        config: Configuration, instead of settings.
    """
    from aligncvc.paper.figures import write_figures

    job = read_job(settings, config)
    for entry in write_figures(job, metrics, samples, renders, align, out, discrimination):
        print(f"{entry['name']}: {entry['caption']}")


def report(
    tables: list[Path],
    figures: Path,
    samples: list[Path],
    renders: list[Path],
    out: Path,
    reported: Path | None = None,
    settings: Path | None = None,
    config: Path | None = None,
) -> None:
    """Put tables, figures and models to turn into one self-contained HTML page.

    Args:
        tables: CSVs that the table and costs commands wrote, with their .json beside them.
        figures: index.json that the figures command wrote.
        samples: manifest.json of each pair and method that python -m aligncvc.sample wrote.
        renders: manifest.tsv of each render set.
        out: HTML file to write.
        reported: .json that the reported command wrote beside its page.
        settings: Settings file of the stage.
        config: Configuration, instead of settings.
    """
    from aligncvc.paper.report import write_report

    write_report(read_job(settings, config), tables, figures, samples, renders, out, reported)


def main() -> None:
    commands = (table, costs, reported, figures, report)
    tyro.extras.subcommand_cli_from_dict(
        {command.__name__: command for command in commands}, prog="python -m aligncvc.paper"
    )


if __name__ == "__main__":
    cli(main)
