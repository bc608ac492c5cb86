"""Weights that a user may or may not have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.models.ledger import resolve


def missing(
    checkpoint_id: str, *, ledger: Path | str | None = None, accept_licences: Sequence[str] = ()
) -> str | None:
    """None if the ledger finds the checkpoint on this machine, else "n/a (weights missing): " and why."""
    try:
        resolve(checkpoint_id, ledger=ledger, accept_licences=accept_licences)
    except UserError as error:
        return f"n/a (weights missing): {error}"
    return None
