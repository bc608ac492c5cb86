"""Settings of a Wonder3D that takes maps of a 3D model (no torch here)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aligncvc.models.generators.wonder3d import settings as wonder3d

TAKES_MAPS = True
TRAINED = "maps"
"""What pretraining trains: the U-Net keeps its weights."""


class Settings(wonder3d.Settings):
    """Everything that decides what the network computes."""

    maps_hidden: int = Field(64, ge=1, description="channels of the network that reads the maps")


PRESETS: dict[str, dict[str, Any]] = {"tiny": {**wonder3d.PRESETS["tiny"], "maps_hidden": 8}}
"""Without a preset: the demo's sizes; tiny: for tests."""
