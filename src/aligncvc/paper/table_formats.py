"""A table as CSV, Markdown, LaTeX and JSON: blocks of columns over the same rows, and notes below.

What the cells mean is decided in `table_blocks.py`; here is only how they look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aligncvc.files import write_text


@dataclass(frozen=True)
class Cell:
    """text: what is shown. lo, hi: ends of its interval, empty where there is none. best: set in bold."""

    text: str
    lo: str = ""
    hi: str = ""
    best: bool = False

    @property
    def bracket(self) -> str:
        """ " [lo, hi]", or nothing where there is no interval or it has no width."""
        return f" [{self.lo}, {self.hi}]" if self.lo and {self.lo, self.hi} != {self.text} else ""


@dataclass(frozen=True)
class Column:
    """words: of text, set to the left; numbers stand to the right. mark: of a footnote, such as a dagger."""

    heading: str
    words: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """Columns that belong together; a row has a cell for each. The last `controls` rows are controls."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    controls: int = 0


@dataclass(frozen=True)
class Table:
    """notes: sentences below the blocks."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()


CONTROLS = "controls"

DASH = "\u2013"
"""Where a cell has no meaning."""

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "†": r"$\dagger$", DASH: "--", "Δ": r"$\Delta$", "≥": r"$\geq$",
}  # fmt: skip


def latex(text: str) -> str:
    """Escape what LaTeX would read as commands."""
    return "".join(_LATEX.get(character, character) for character in text)


def markdown(text: str) -> str:
    """Escape what Markdown would read as a column, emphasis at a word's edge, or an escape."""
    for character in "\\|*<":
        text = text.replace(character, "\\" + character)
    return text


def as_markdown(table: Table) -> str:
    """Pipe tables with padded columns, a title above each where there are several; notes as a list."""
    parts = []
    for block in table.blocks:
        title = f"**{markdown(block.title)}**\n\n" if len(table.blocks) > 1 else ""
        parts.append(title + _pipes(block))
    if table.notes:
        parts.append("".join(f"- {markdown(note)}\n" for note in table.notes))
    return "\n".join(parts)


def _pipes(block: Block) -> str:
    lines = [[markdown(_headed(column)) for column in block.columns]]
    for index, row in enumerate(block.rows):
        if block.controls and index == len(block.rows) - block.controls:
            lines.append([f"*{CONTROLS}*", *[""] * (len(row) - 1)])
        lines.append([_markdown_cell(cell) for cell in row])
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(block.columns))]
    padded = [
        [
            text.ljust(width) if column.words else text.rjust(width)
            for text, width, column in zip(line, widths, block.columns, strict=True)
        ]
        for line in lines
    ]
    rule = [
        "-" * width if column.words else "-" * (width - 1) + ":"
        for width, column in zip(widths, block.columns, strict=True)
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [padded[0], rule, *padded[1:]])


def _markdown_cell(cell: Cell) -> str:
    text = markdown(cell.text)
    return (f"**{text}**" if cell.best else text) + cell.bracket


def _headed(column: Column) -> str:
    return column.heading + (f" {column.mark}" if column.mark else "")


def as_latex(table: Table) -> str:
    """Booktabs tabulars to \\input inside a table environment, a rule before the controls, notes below."""
    parts = ["% needs \\usepackage{booktabs}; wide: \\resizebox or \\small helps\n"]
    for block in table.blocks:
        if len(table.blocks) > 1:
            parts.append(f"\\par\\medskip\\noindent\\textit{{{latex(block.title)}}}\\par\\smallskip\n")
        parts.append(_tabular(block))
    if table.notes:
        parts.append("\\par\\medskip\\begingroup\\footnotesize\n")
        parts += [f"\\noindent {latex(note)}\\par\n" for note in table.notes]
        parts.append("\\endgroup\n")
    return "".join(parts)


def _tabular(block: Block) -> str:
    align = "".join("l" if column.words else "r" for column in block.columns)
    head = [latex(_headed(column)) for column in block.columns]
    body = []
    for index, row in enumerate(block.rows):
        if block.controls and 0 < index == len(block.rows) - block.controls:
            body.append("\\midrule\n")
        body.append(_latex_line([_latex_cell(cell) for cell in row]))
    return (
        f"\\begin{{tabular}}{{@{{}}{align}@{{}}}}\n\\toprule\n{_latex_line(head)}\\midrule\n"
        f"{''.join(body)}\\bottomrule\n\\end{{tabular}}\n"
    )


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + " \\\\\n"


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    bracket = f"\\,{{\\scriptsize{cell.bracket}}}" if cell.bracket else ""
    return (f"\\textbf{{{text}}}" if cell.best else text) + bracket


def as_data(table: Table) -> dict[str, Any]:
    """The table for programs and the report: {blocks: [{title, controls, columns, rows}], notes}."""
    return asdict(table)


def as_json(value: Any) -> str:
    """Indented JSON of what `as_data` makes."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def as_csv(lines: Sequence[Mapping[str, str]]) -> str:
    """Comma-separated text with a header line."""
    return pd.DataFrame(lines, dtype=str).to_csv(index=False, lineterminator="\n")


def write_table_files(out: Path, table: Table, lines: Sequence[Mapping[str, str]]) -> None:
    """Write the .md, .tex and .json beside `out`, and last `out`, the CSV of `lines`."""
    write_text(out.with_suffix(".md"), as_markdown(table))
    write_text(out.with_suffix(".tex"), as_latex(table))
    write_text(out.with_suffix(".json"), as_json(as_data(table)))
    write_text(out, as_csv(lines))
