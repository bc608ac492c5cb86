"""Licences of weights: which are used without asking, and what the others mean in one sentence."""

from __future__ import annotations

PERMISSIVE_LICENCES = frozenset(
    {
        "Apache-2.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "ISC",
        "MIT",
    }
)
"""Licences used without asking. Any other name, `unknown` included, must be accepted by name."""

_MEANINGS = {
    "AGPL-3.0": "whoever passes on the weights or a work based on them, or offers their use over a network, "
    "must give all recipients and users the complete corresponding source under the same licence",
    "unknown": "nobody has been granted the right to copy or use the file, so ask its authors first",
    "openrail": "uses that its annex names are forbidden, and the same restrictions must be handed on",
    "CC-BY-NC-4.0": "commercial use is not allowed, and the authors must be named",
    "CC-BY-NC-SA-4.0": "commercial use is not allowed, the authors must be named, and works based on it must "
    "be under the same licence",
}


def meaning(licence: str) -> str:
    """One clause that says what a licence that is not permissive asks of its user; no legal advice."""
    return _MEANINGS.get(
        licence, "its terms go beyond keeping the notice, so read them before you use the file"
    )
