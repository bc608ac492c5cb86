"""Weights that a user may or may not have."""

from __future__ import annotations

from aligncvc.errors import UserError
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.specs import CheckpointAccess


def missing(checkpoint_id: str, access: CheckpointAccess = CheckpointAccess()) -> str | None:
    """None if the ledger finds the checkpoint on this machine, else "n/a (weights missing): " and why."""
    try:
        resolve(checkpoint_id, access)
    except UserError as error:
        return f"n/a (weights missing): {error}"
    return None
