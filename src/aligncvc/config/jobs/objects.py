"""What fetching one set of objects reads."""

from __future__ import annotations

from aligncvc.config.jobs.base import Job
from aligncvc.config.objects import ObjectSet


class ObjectsJob(Job):
    """set: its name; objects: where they come from, completed by the protocol for the evaluation set.

    attempts, stall_seconds: how patient downloads are.
    """

    set: str
    objects: ObjectSet
    attempts: int = 6
    stall_seconds: float = 30.0
