"""A hub of boxes, and the stand-in for Blender in the worker processes of this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_world import COUNT, SIZE, World
from synthetic_hub import PATIENCE, make_hub

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "objects"))
from object_server import Loopback

from aligncvc.render import workers


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setattr(workers, "SCENE", "scene_stand_in")
    paths = filter(None, [here, os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


def settings_of(listed: Path, mirror: str, size: int) -> dict[str, object]:
    """A configuration whose training set is the hub's."""
    train = {"source": "objaverse", "list": str(listed), "path": mirror}
    return {
        "objects": {"shard_size": size, **PATIENCE, "sets": {"train": train, "eval": {}}},
        "render": {"size_px": 32, "ring_views": 4, "max_failure_rate": 0.2},
        "pretrain": {"sets": ["train"]},
    }


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    listed = tmp_path_factory.mktemp("hub") / "list.tsv"
    with Loopback(make_hub(COUNT, listed)) as site:
        yield World(site, listed, settings_of(listed, site.url, SIZE))
