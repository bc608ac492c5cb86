"""Settings of LGM's network and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aligncvc.section import Section


class Settings(Section):
    """Everything that decides what the network computes."""

    down_channels: list[int] = [32, 64, 128, 128]
    down_attention: list[bool] = [False, False, True, True]
    mid_attention: bool = True
    up_channels: list[int] = [128, 128, 64, 32]
    up_attention: list[bool] = [True, True, False, False]
    layers: int = 1
    heads: int = 2
    norm_groups: int | None = Field(
        None, ge=1, description="of every group norm; null: at most 32, with two channels or more in each"
    )
    head: Literal["ray", "lgm"] = Field(
        "ray", description="how channels become Gaussians; lgm for its checkpoints"
    )
    size_px: int | None = Field(None, ge=1, description="side that views are resized to; null: as they come")
    rot_norm_dim: Literal[-1, 1] = Field(
        -1,
        description="lgm head: quaternions are normalised one by one (-1), or over all Gaussians (1, LGM's "
        "first release)",
    )
    world: Literal["ours", "y-up", "first-camera"] = Field(
        "ours",
        description="the world that rays and Gaussians of the network live in: ours, LGM's y-up one, or that "
        "turned so that the input camera looks along -z",
    )
    radius: float | None = Field(
        None, gt=0, description="distance of the input camera in that world; null: its own"
    )
    ray_fov_y_deg: float | Literal["cameras"] = Field(
        "cameras", description="vertical field of view of the rays"
    )
    projection_fov_y_deg: float | Literal["cameras"] | None = Field(
        None,
        description="field of view at which the network's Gaussians were drawn in its training; null: that "
        "of the rays",
    )


_LGM: dict[str, Any] = {
    "down_channels": [64, 128, 256, 512, 1024, 1024],
    "down_attention": [False] * 3 + [True] * 3,
    "layers": 2,
    "heads": 16,
    "norm_groups": 32,
    "head": "lgm",
    "size_px": 256,
}

PRESETS: dict[str, dict[str, Any]] = {
    "big": _LGM | {"up_channels": [1024, 1024, 512, 256, 128], "up_attention": [True] * 3 + [False] * 2},
    "tiny": {
        "down_channels": [8, 16],
        "down_attention": [False, True],
        "up_channels": [16, 8],
        "up_attention": [True, False],
    },
    "small": _LGM | {"up_channels": [1024, 1024, 512, 256], "up_attention": [True] * 3 + [False]},
}
"""LGM's two released shapes (github 3DTopia/LGM, core/options.py `big` and `small`): 415.04 M and 412.96 M
parameters, 128 x 128 and 64 x 64 Gaussians a view of 256 x 256 pixels. Without a preset: the demo's sizes."""
