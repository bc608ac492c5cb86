"""`python -m aligncvc.paper.summary`: a finished run in ten lines, and where to look further."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from aligncvc.errors import UserError, cli

COLUMNS = {
    "residual_psnr": ("residual, dB", "{:.1f}"),
    "lpips": ("LPIPS", "{:.3f}"),
    "network_calls": ("calls", "{:.0f}"),
    "cpu_seconds": ("CPU seconds", "{:.1f}"),
}
"""Columns of table1.csv, their heads and how a number is written."""


def summary(rows: pd.DataFrame) -> Table:
    """The methods of table 1 with the numbers that most readers ask for; n/a where there is none."""
    columns = {name: form for name, form in COLUMNS.items() if name in rows}
    table = Table(box=SIMPLE_HEAD)
    for head in ("pair", "method"):  # whole, in 80 characters too
        table.add_column(head, no_wrap=True)
    for head, _ in columns.values():
        table.add_column(head)
    for _, row in rows.iterrows():
        cells = [
            form.format(row[name]) if pd.notna(row[name]) else "n/a" for name, (_, form) in columns.items()
        ]
        table.add_row(str(row["pair"]), str(row["method"]), *cells)
    return table


def command(results: Path = Path("results"), rows: int = 6) -> None:
    """Print the first rows of table 1 and the paths of the report and of both tables.

    Args:
        results: folder of a finished run.
        rows: rows that are shown.
    """
    path = results / "table1.csv"
    try:
        records = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable table ({error}); run snakemake {path} first") from None
    console = Console(highlight=False)
    console.print(summary(records[:rows]))
    more = f"{len(records) - rows} more rows in {path}; " if len(records) > rows else ""
    console.print(f"{more}report: {(results / 'report.html').resolve()}", soft_wrap=True)


def main() -> None:
    tyro.cli(command)


if __name__ == "__main__":
    cli(main)
