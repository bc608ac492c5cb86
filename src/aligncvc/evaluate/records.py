"""Long-form records: one measured number a row. Tables and figures only aggregate them."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from aligncvc.errors import UserError
from aligncvc.files import PROVENANCE, atomic_path

MEAN_VIEW = -1
"""`view` of a mean over views, and of numbers that belong to no view."""

FINAL_STEP = -1
"""`step` of the final result (model.ply, the last generated views), and of numbers without a step."""


@dataclass(frozen=True, slots=True)
class Record:
    """One number; NaN where the metric has no value (a view without foreground).

    view: index in the ring, or MEAN_VIEW. step: 1..K among the kept sampling steps, or FINAL_STEP. protocol:
    its hash. seconds, peak_mb: cost of the whole sample, NaN if it failed.
    """

    method: str
    pair: str
    dataset: str
    object: str
    seed: int
    view: int
    step: int
    metric: str
    value: float
    protocol: str
    seconds: float
    peak_mb: float


COLUMNS = tuple(field.name for field in fields(Record))
_READ = {"seed": int, "view": int, "step": int, "value": float, "seconds": float, "peak_mb": float}
"""How columns that are not words are read."""


def write_records(path: Path | str, records: Iterable[Record]) -> None:
    """Write a CSV with a header line, atomically; numbers keep nine significant digits."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in records:
            cells = (getattr(record, name) for name in COLUMNS)
            writer.writerow([format(x, ".9g") if isinstance(x, float) else x for x in cells])


def read_records(path: Path | str) -> list[Record]:
    """Read a CSV of records. Raises UserError naming the file and line that do not fit the schema."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as handle:
            return list(_parsed(path, csv.reader(handle)))
    except (OSError, ValueError, csv.Error) as error:
        message = f"{path} is not a readable CSV of records ({error}); evaluate the method again"
        raise UserError(message) from error


def _parsed(path: Path | str, rows: Iterator[list[str]]) -> Iterator[Record]:
    """One record after the other, so that no more than these is in memory."""
    if tuple(next(rows, ())) != COLUMNS:
        raise UserError(
            f"{path} has not the columns of records ({','.join(COLUMNS)}); evaluate the method again"
        )
    for number, row in enumerate(rows, start=2):
        try:
            text = dict(zip(COLUMNS, row, strict=True))
            numbers = {name: read(text[name]) for name, read in _READ.items()}
            if any(map(math.isinf, numbers.values())):
                raise ValueError("a number is infinite")
            # few words, each in thousands of rows: one string of each is enough
            words = {name: sys.intern(word) for name, word in text.items() if name not in _READ}
            yield Record(**(words | numbers))  # type: ignore[arg-type]
        except ValueError as error:
            message = f"{path}, line {number}, is no record ({error}); evaluate the method again"
            raise UserError(message) from None


def concat(paths: Iterable[Path | str]) -> list[Record]:
    """Records of several files, in order.

    Raises UserError unless all were measured by one protocol, nothing twice, and, where the protocols written
    beside them tell, all against the same pixels: one object list rendered by two machines may differ.
    """
    records: list[Record] = []
    seen: dict[tuple[str, str, str, int, str], Path] = {}
    pixels: dict[str, tuple[Path, str]] = {}
    protocols: dict[str, Path] = {}
    for path in map(Path, paths):
        here = read_records(path)
        protocols |= {r.protocol: protocols.get(r.protocol, path) for r in here}
        if len(protocols) > 1:
            (one, first), (other, _) = list(protocols.items())[:2]
            raise UserError(
                f"{first} (protocol {one}) and {path} (protocol {other}) were measured "
                f"differently{_difference(first, path)}; evaluate both with one configuration and set"
            )
        for name, sha256 in protocol_beside(path).get("ground_truth_sha256", {}).items():
            beside, expected = pixels.setdefault(name, (path, sha256))
            if sha256 != expected:
                raise UserError(
                    f"{beside} and {path} were measured against different renders of {name} "
                    f"({expected[:12]} and {sha256[:12]}); evaluate both against one set of renders"
                )
        for key in dict.fromkeys((r.pair, r.method, r.object, r.seed, r.metric) for r in here):
            if key in seen:
                pair, method, name, _, metric = key
                raise UserError(
                    f"{seen[key]} and {path} both hold {metric} of {name} by {method} of the pair {pair}; "
                    "give one of them"
                )
            seen[key] = path
        records += here
    return records


def protocol_file(records: Path | str) -> Path:
    """Where the protocol of a CSV of records is written in full."""
    return Path(records).with_suffix(".protocol.json")


def record_files(records: Path) -> list[Path]:
    """A CSV of records and what is written beside it."""
    return [records, protocol_file(records), Path(f"{records}{PROVENANCE}")]


def protocol_beside(records: Path) -> dict[str, Any]:
    """What `protocol_file` holds, {} if it is not there."""
    try:
        found = json.loads(protocol_file(records).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _difference(one: Path, other: Path) -> str:
    """The keys on which the protocols written beside two files differ, or nothing if they are not there."""
    a, b = protocol_beside(one), protocol_beside(other)
    keys = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
    return f" ({', '.join(keys)})" if a and b and keys else ""
