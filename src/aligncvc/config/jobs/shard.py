"""What the jobs of one sharded set read."""

from __future__ import annotations

from aligncvc.config.jobs.base import Job
from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.jobs.render import SCENE_VERSION, RenderJob
from aligncvc.files import sha256_json

LISTED = {"list", "split", "limit"}
"""Settings of a set that say which lines of the list are taken, which the lines themselves say too."""
PATIENCE = {"timeout_seconds", "max_failure_rate"}


class ShardJob(Job):
    """Fetching and rendering a set's list, `size` objects at a time: the same settings for all its shards."""

    set: str
    objects: ObjectsJob
    render: RenderJob
    size: int

    def key(self, rows: str) -> str:
        """A hash of all that decides a shard's bytes. rows: of its lines of the list (`objects.shard_lists`).

        Neither patience nor the code counts: a change of these would render a whole set again, for nothing.
        """
        parts = {
            "rows": rows,
            "seed": self.seed,
            "scene": SCENE_VERSION,
            "objects": self.objects.objects.model_dump(mode="json", exclude=LISTED),
            "render": self.render.model_dump(mode="json", exclude={"render": PATIENCE}),
        }
        return sha256_json(parts)[:16]
