"""What the tests of shards are about: a hub of boxes, and the configuration that trains on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "objects"))
from object_server import Site

from aligncvc.config.jobs.shard import ShardJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import parse_config

COUNT, SIZE = 42, 20


@dataclass(frozen=True)
class World:
    """42 objects in shards of 20."""

    site: Site
    listed: Path
    settings: dict[str, object]

    @property
    def job(self) -> ShardJob:
        return Plan(parse_config(self.settings, "scale")).shard("train")
