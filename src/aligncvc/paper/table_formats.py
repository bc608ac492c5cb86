"""A table as CSV, Markdown, LaTeX and JSON: blocks of columns over the same rows, and notes below.

What the cells mean is decided in `table_layout.py`; here is only how they look.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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

    def written(self, escape: Callable[[str], str], bold: str, bracket: str) -> str:
        """The text, and the interval where it has a width; `bold` and `bracket` are patterns for `%`."""
        text = bold % escape(self.text) if self.best else escape(self.text)
        width = self.lo and {self.lo, self.hi} != {self.text}
        return text + (bracket % f" [{self.lo}, {self.hi}]" if width else "")


@dataclass(frozen=True)
class Column:
    """words: of text, set to the left; numbers stand to the right. mark: of a footnote, such as a dagger."""

    heading: str
    words: bool = False
    mark: str = ""

    @property
    def marked(self) -> str:
        return f"{self.heading} {self.mark}".rstrip()


@dataclass(frozen=True)
class Block:
    """Columns that belong together; a row has a cell for each. The last `controls` rows are controls."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    controls: int = 0

    def written(self, escape: Callable[[str], str], bold: str, bracket: str) -> list[list[list[str]]]:
        """Lines of texts: the head, rows of methods, rows of controls."""
        lines = [[cell.written(escape, bold, bracket) for cell in row] for row in self.rows]
        cut = len(lines) - self.controls
        return [[[escape(column.marked) for column in self.columns]], lines[:cut], lines[cut:]]


@dataclass(frozen=True)
class Table:
    """notes: sentences below the blocks."""

    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()


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
    return text.translate({ord(character): "\\" + character for character in "\\|*<"})


def as_markdown(table: Table) -> str:
    """Pipe tables with padded columns, a title above each where there are several; notes as a list."""
    titles = [f"**{markdown(block.title)}**\n\n" * (len(table.blocks) > 1) for block in table.blocks]
    parts = [title + _pipes(block) for title, block in zip(titles, table.blocks, strict=True)]
    if table.notes:
        parts.append("".join(f"- {markdown(note)}\n" for note in table.notes))
    return "\n".join(parts)


def _pipes(block: Block) -> str:
    head, rows, controls = block.written(markdown, "**%s**", "%s")
    if controls:
        controls.insert(0, ["*controls*", *[""] * (len(block.columns) - 1)])
    lines = [*head, *rows, *controls]
    columns = []
    for column, texts in zip(block.columns, zip(*lines, strict=True), strict=True):
        width = max(3, *map(len, texts))
        rule = "-" * width if column.words else "-" * (width - 1) + ":"
        pad = str.ljust if column.words else str.rjust
        columns.append([pad(text, width) for text in (texts[0], rule, *texts[1:])])
    return "".join(f"| {' | '.join(line)} |\n" for line in zip(*columns, strict=True))


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
    written = block.written(latex, "\\textbf{%s}", "\\,{\\scriptsize%s}")
    head, rows, controls = ("".join(" & ".join(line) + " \\\\\n" for line in part) for part in written)
    rule = "\\midrule\n" if rows and controls else ""
    body = f"\\toprule\n{head}\\midrule\n{rows}{rule}{controls}\\bottomrule\n"
    return f"\\begin{{tabular}}{{@{{}}{align}@{{}}}}\n{body}\\end{{tabular}}\n"


def as_json(value: Any) -> str:
    """Indented JSON of a table as a dictionary, or of several."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def as_csv(lines: Sequence[Mapping[str, str]]) -> str:
    """Comma-separated text with a header line."""
    return pd.DataFrame(lines, dtype=str).to_csv(index=False, lineterminator="\n")


def write_table_files(out: Path, table: Table, lines: Sequence[Mapping[str, str]]) -> None:
    """Write the .md, .tex and .json beside `out`, and last `out`, the CSV of `lines`."""
    write_text(out.with_suffix(".md"), as_markdown(table))
    write_text(out.with_suffix(".tex"), as_latex(table))
    write_text(out.with_suffix(".json"), as_json(asdict(table)))
    write_text(out, as_csv(lines))
