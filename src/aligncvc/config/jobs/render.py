"""What rendering one set reads."""

from __future__ import annotations

from aligncvc.config.jobs.base import Job
from aligncvc.config.objects import Render

SCENE_VERSION = 2
"""Part of every render's hash: raise it when `render.blender_scene` would give other pixels."""


class RenderJob(Job):
    """set: its name; looks: how many of each object; scene_version: the scene that the protocol asks for.

    The ring is the union of the views of all rigs: every rig's views are members of it.
    """

    set: str
    render: Render
    looks: int = 1
    scene_version: int | None = None
