from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "align"))

from tiny_world import tiny_config, write_renders

from aligncvc.config.sections import Config


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of three rendered clouds at 32 px."""
    return write_renders(tmp_path_factory.mktemp("renders"))


@pytest.fixture(scope="session")
def config() -> Config:
    return tiny_config()
