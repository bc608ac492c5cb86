"""Tables of the paper: one row a method, aggregated from the records; CSV with Markdown and LaTeX twins.

A cell is the mean over objects of each object's mean over seeds; a metric without a number says n/a. Nothing
is set in bold: without an interval on a difference, no method is claimed to be better than another.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from aligncvc.config import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.records import Record, concat
from aligncvc.files import write_text
from aligncvc.paper.data import by_method, by_object, last_step, mean

NOT_AVAILABLE = "n/a"

MAIN = (
    "method", "pair", "steps", "objects", "psnr", "ssim", "lpips", "residual_psnr", "seconds", "peak_mb",
)  # fmt: skip
EXTRA = (
    "fg_psnr", "views_psnr", "residual_ssim", "residual_lpips", "network_calls", "seeds", "failed",
)  # fmt: skip

DECIMALS = {
    "psnr": 2, "fg_psnr": 2, "views_psnr": 2, "residual_psnr": 2,
    "ssim": 4, "residual_ssim": 4, "lpips": 4, "residual_lpips": 4,
    "seconds": 2, "peak_mb": 0, "network_calls": 0,
}  # fmt: skip
"""Digits after the point of each measured column, in every format."""

TEXT = ("method", "pair", "alignment")
"""Columns of words; all others hold numbers."""

LABELS = {
    "method": "Method", "pair": "Pair", "alignment": "Alignment", "steps": "Steps", "objects": "Objects",
    "psnr": "PSNR ↑", "ssim": "SSIM ↑", "lpips": "LPIPS ↓", "residual_psnr": "Residual PSNR ↑",
    "seconds": "Seconds ↓", "peak_mb": "Peak MB ↓", "fg_psnr": "Foreground PSNR ↑",
    "views_psnr": "Views PSNR ↑", "residual_ssim": "Residual SSIM ↑", "residual_lpips": "Residual LPIPS ↓",
    "network_calls": "Network calls ↓", "seeds": "Seeds", "failed": "Failed",
}  # fmt: skip
"""Column headings of the twins; an arrow says which way is better."""

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip

Row = dict[str, str]
"""Formatted cells by column."""


def columns(table: str) -> tuple[str, ...]:
    """The table's columns in order; the ablation (table2) also says which alignment was on."""
    return (*MAIN, *(("alignment",) if table == "table2" else ()), *EXTRA)


def number(metric: str, value: float) -> str:
    """A measured value with its metric's fixed decimals, or n/a."""
    if math.isnan(value):
        return NOT_AVAILABLE
    text = format(value, f".{DECIMALS[metric]}f")
    return text.removeprefix("-") if float(text) == 0 else text


def alignment(config: Config, method: str) -> str:
    """Which losses the method's alignment run has on: none, soft, hard or both."""
    name = config.sample.methods[method].run
    if name is None:
        return "none"
    run = config.align.runs[name]
    return {(True, False): "soft", (False, True): "hard", (True, True): "both"}.get(
        (run.soft, run.hard), "none"
    )


def aggregate(records: Sequence[Record], metric: str) -> float:
    """Mean over objects; residuals at the last kept step, everything else at the final result.

    NaN if no record has a number.
    """
    residual = metric.startswith("residual_")
    step = {"step": last_step(records, metric)} if residual else {}
    return mean(by_object(records, metric, **step).values())


def method_row(config: Config, method: str, records: Sequence[Record]) -> Row:
    """One row. objects: those with at least one scored sample; failed: samples without a score."""
    scored = {r.object for r in records if r.metric != "failed"}
    return {
        "method": method,
        "pair": " / ".join(dict.fromkeys(r.pair for r in records)) or config.pair,
        "alignment": alignment(config, method),
        "steps": str(config.sample.methods[method].steps),
        "objects": str(len(scored)),
        "seeds": str(len({r.seed for r in records})),
        "failed": str(sum(r.metric == "failed" and r.value == 1 for r in records)),
        **{metric: number(metric, aggregate(records, metric)) for metric in DECIMALS},
    }


def build_table(config: Config, table: str, records: Sequence[Record]) -> list[Row]:
    """One row for each method that shows in `table`, in the configuration's order.

    A method without records has n/a cells and 0 objects. Raises UserError if the configuration shows no
    method in this table or none of them has records.
    """
    methods = [name for name, method in config.sample.methods.items() if table in method.table]
    if not methods:
        raise UserError(f"no method of sample.methods is in {table!r}; name the table in its `table` list")
    groups = by_method(records)
    if not groups.keys() & set(methods):
        raise UserError(
            f"no record is of a method that {table} shows ({', '.join(methods)}); "
            "give the CSVs that python -m aligncvc.evaluate wrote for them"
        )
    return [method_row(config, name, groups.get(name, [])) for name in methods]


def as_csv(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Comma-separated text with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return text.getvalue()


def as_markdown(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """A pipe table with padded columns: words to the left, numbers to the right."""
    cells = [[LABELS[name] for name in names], *([_markdown(row[name]) for name in names] for row in rows)]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(names))]

    def pad(i: int, text: str) -> str:
        return text.ljust(widths[i]) if names[i] in TEXT else text.rjust(widths[i])

    rule = ["-" * w if name in TEXT else "-" * (w - 1) + ":" for name, w in zip(names, widths, strict=True)]
    lines = [[pad(i, text) for i, text in enumerate(line)] for line in cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], rule, *lines[1:]])


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def as_latex(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """A booktabs tabular to \\input inside a table environment."""
    align = "".join("l" if name in TEXT else "r" for name in names)
    header = [LABELS[name] for name in names]
    body = [[row[name] for name in names] for row in rows]
    head, *rest = (" & ".join(map(latex, line)) + r" \\" + "\n" for line in [header, *body])
    return (
        "% needs \\usepackage{booktabs}; wide: \\resizebox or \\small helps\n"
        f"\\begin{{tabular}}{{@{{}}{align}@{{}}}}\n\\toprule\n{head}\\midrule\n{''.join(rest)}"
        "\\bottomrule\n\\end{tabular}\n"
    )


def latex(text: str) -> str:
    """Escape what LaTeX would read as commands."""
    return "".join(_LATEX.get(character, character) for character in text)


def write_table(config: Config, table: str, metrics: Sequence[Path], out: Path) -> list[Row]:
    """Write `out` (CSV) and its .md and .tex twins; the CSV comes last.

    Raises UserError for records that are unreadable or measured by different protocols, and as build_table.
    """
    rows, names = build_table(config, table, concat(metrics)), columns(table)
    write_text(out.with_suffix(".md"), as_markdown(names, rows))
    write_text(out.with_suffix(".tex"), as_latex(names, rows))
    write_text(out, as_csv(names, rows))
    return rows
