"""Weights: the ledger, verified files, strict loading."""

from aligncvc.models.ledger.facts import SETTINGS, check_settings, network_settings, write_facts
from aligncvc.models.ledger.ledger import Entry, Ledger, load_ledger, record
from aligncvc.models.ledger.pickles import load_numpy_pickle
from aligncvc.models.ledger.quirks import Quirks, settled
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.strict import load_checkpoint, load_strict, read_safetensors, read_state

__all__ = [
    "SETTINGS",
    "Entry",
    "Ledger",
    "Quirks",
    "check_settings",
    "load_checkpoint",
    "load_ledger",
    "load_numpy_pickle",
    "load_strict",
    "network_settings",
    "read_safetensors",
    "read_state",
    "record",
    "resolve",
    "settled",
    "write_facts",
]
