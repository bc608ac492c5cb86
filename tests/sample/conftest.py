from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "align"))

from tiny_world import tiny_pair, write_renders

from aligncvc.models.pair import PairOfModels, load_pretrained
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import RenderSet


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of three rendered clouds at 32 px."""
    return write_renders(tmp_path_factory.mktemp("renders"))


@pytest.fixture(scope="session")
def pair() -> PairOfModels:
    """The tiny pair with random weights."""
    return load_pretrained(tiny_pair())


@pytest.fixture(scope="session")
def rig(renders: Path) -> tuple[Tensor, Cameras]:
    """Input view (3, H, W) and rig of the first object."""
    images, cameras = RenderSet(renders, 32).load("a").rig_from(0)
    return images[0], cameras
