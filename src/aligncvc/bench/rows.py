"""Lines of results/bench.json."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def row(name: str, value: float, unit: str, reference: float | None = None, note: str | None = None) -> Row:
    """One line; ratio = how many times less than the reference. note: what the number holds for."""
    ratio = None if reference is None else round(reference / value, 2)
    made = {"name": name, "value": round(value, 4), "unit": unit, "ratio": ratio,
            "reference": None if reference is None else round(reference, 4)}  # fmt: skip
    return made if note is None else {**made, "note": note}
