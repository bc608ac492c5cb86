"""Snakemake's plugins, which may be absent."""

from __future__ import annotations

import importlib.util

import pytest


def require(kind: str, name: str) -> None:
    """Skip the test where a plugin is not installed. kind: executor or storage."""
    if importlib.util.find_spec(f"snakemake_{kind}_plugin_{name}") is None:
        pytest.skip(f"snakemake's {kind} plugin {name} is not installed (docs/scale.md)")
