from __future__ import annotations

from pathlib import Path

import pytest
from tiny_world import write_renders


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of three rendered clouds at 32 px."""
    return write_renders(tmp_path_factory.mktemp("renders"))
