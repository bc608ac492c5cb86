"""Weights: the ledger, verified files, strict loading."""

from aligncvc.checkpoints.facts import SETTINGS, check_settings, network_settings, write_facts
from aligncvc.checkpoints.ledger import Entry, Ledger, load_ledger, record
from aligncvc.checkpoints.pickles import load_numpy_pickle
from aligncvc.checkpoints.quirks import Quirks, settled
from aligncvc.checkpoints.resolve import resolve
from aligncvc.checkpoints.strict import load_checkpoint, load_strict, read_safetensors, read_state

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
