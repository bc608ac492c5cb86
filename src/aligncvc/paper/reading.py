"""Reading small text files: the package's own, and others with one sentence for what is wrong with them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from aligncvc.errors import UserError
from aligncvc.files import parse_yaml, read_text

T = TypeVar("T")

TEMPLATES = Path(__file__).parent / "templates"
"""Pages and words of the paper stage."""


def shipped(name: str) -> Any:
    """What a YAML file among the templates holds."""
    return parse_yaml((TEMPLATES / name).read_text(encoding="utf-8"))


def read(path: Path, parse: Callable[[str], T], fault: str, mend: str) -> T:
    """What `parse` makes of a file's text. Raises UserError "<path> <fault> (<why>); <mend>"."""
    try:
        return parse(read_text(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error, yaml.YAMLError) as error:
        why = " ".join(str(error if isinstance(error, ValueError | OSError) else repr(error)).split())
        raise UserError(f"{path} {fault} ({why}); {mend}") from error


def table_rows(text: str, columns: Collection[str] = (), separator: str = ",") -> list[dict[str, str]]:
    """Rows of a CSV with a header line. Raises ValueError for missing columns and lines of unequal length."""
    reader = csv.DictReader(io.StringIO(text), delimiter=separator)
    rows = list(reader)
    if lacking := sorted(set(columns) - set(reader.fieldnames or ())):
        raise ValueError(f"it lacks the columns {lacking}")
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("its lines are of unequal length")
    return rows


def read_rankings(discrimination: Path | None) -> dict[str, str]:
    """Whether each metric ranks the controls (yes, no, n/a), from discrimination.csv; {} without the file.

    Raises UserError for a file that does not say.
    """
    if discrimination is None:
        return {}
    parse = partial(table_rows, columns=("metric", "discriminates"))
    rows = read(discrimination, parse, "does not say which metrics discriminate", "check the controls again")
    return {row["metric"]: row["discriminates"] for row in rows}
