"""Weights: the ledger, verified files, strict loading. Nothing is imported here: planning needs no torch."""
