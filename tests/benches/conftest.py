from __future__ import annotations

from pathlib import Path

import pytest

from aligncvc.config.plan import Plan
from aligncvc.files import PROJECT_ROOT


@pytest.fixture(scope="session")
def smoke() -> Path:
    """The configuration whose networks are small enough for tests."""
    return PROJECT_ROOT / "config/smoke.yaml"


@pytest.fixture(scope="session")
def plan(smoke: Path) -> Plan:
    return Plan.read(smoke)
