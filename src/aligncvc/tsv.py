"""Tab-separated tables of plain text: object lists and manifests."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.files import read_text, write_text


def read_tsv(path: Path, required: Iterable[str], mend: str) -> list[dict[str, str]]:
    """Rows by column; lines that begin with # are comments. UserErrors about the file end with `mend`."""
    try:
        lines = [x for x in read_text(path).splitlines() if not x.startswith("#")]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"no table can be read from {path} ({why}); {mend}") from None
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    missing = [name for name in required if name not in (reader.fieldnames or [])]
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}; {mend}")
    return [{key: value or "" for key, value in row.items() if key is not None} for row in reader]


def write_tsv(
    path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]], comment: str = ""
) -> None:
    """Write a table atomically; tabs and line breaks in values become blanks."""
    names = list(columns)
    lines = [f"# {line}" for line in comment.splitlines()] + ["\t".join(names)]
    lines += ["\t".join(" ".join(str(row[name]).split()) for name in names) for row in rows]
    write_text(path, "\n".join(lines) + "\n")
