"""The scripts beside the tests are importable, and those of the workflow's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "workflow")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workflow_copy import copy_checkout

    return copy_checkout(tmp_path_factory.mktemp("engines") / "checkout")
