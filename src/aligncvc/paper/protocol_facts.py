"""What stands beside the records of a table: protocol, metrics that tell nothing apart, published numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aligncvc.evaluate.records import protocol_file
from aligncvc.paper.reading import read, table_rows
from aligncvc.paper.reported import Reported, read_reported


@dataclass(frozen=True)
class ProtocolFacts:
    """protocol: as written beside the records, empty if it is not there. reasons: "n/a (...)" by metric.

    muted: metrics that do not rank the controls. reported: every published number that is known.
    """

    protocol: Mapping[str, Any]
    reasons: Mapping[str, str]
    muted: frozenset[str] = frozenset()
    reported: tuple[Reported, ...] = ()

    @property
    def protocol_class(self) -> str:
        """Class of the protocol; published numbers of the same class may stand beside ours."""
        return str(self.protocol.get("protocol_class", ""))

    @property
    def published(self) -> list[Reported]:
        """Published numbers measured by a protocol of the same class."""
        if not self.protocol_class:
            return []
        return [r for r in self.reported if r.value is not None and r.protocol_class == self.protocol_class]


def read_facts(
    metrics: Sequence[Path], discrimination: Path | None = None, reported: Sequence[Path] = ()
) -> ProtocolFacts:
    """Read the protocols beside the CSVs of records, discrimination.csv and the published numbers.

    A protocol that is not there is left out (records can be aggregated without); the other files must be
    readable, or UserError is raised.
    """
    protocols = [p for p in map(_protocol, metrics) if p]
    reasons = {name: text for protocol in protocols for name, text in _not_available(protocol)}
    for protocol in protocols:
        missing = protocol.get("unavailable")
        for name, why in missing.items() if isinstance(missing, dict) else ():
            reasons.setdefault(str(name), f"n/a ({why})")
    rankings = read_rankings(discrimination)
    muted = frozenset(name for name, verdict in rankings.items() if verdict == "no")
    return ProtocolFacts(protocols[0] if protocols else {}, reasons, muted, tuple(read_reported(reported)))


def read_rankings(discrimination: Path | None) -> dict[str, str]:
    """Whether each metric ranks the controls (yes, no, n/a), from discrimination.csv; {} without the file.

    Raises UserError for a file that does not say.
    """
    if discrimination is None:
        return {}
    parse = partial(table_rows, columns=("metric", "discriminates"))
    rows = read(discrimination, parse, "does not say which metrics discriminate", "check the controls again")
    return {row["metric"]: row["discriminates"] for row in rows}


def _protocol(records: Path) -> dict[str, Any]:
    try:
        protocol = json.loads(protocol_file(records).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return protocol if isinstance(protocol, dict) else {}


def _not_available(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every "n/a (reason)" in a protocol with the key that it stands under, which is a metric's name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_available(inner, str(key))
    elif isinstance(value, str) and value.startswith("n/a"):
        yield name, value
