"""Settings of LGM's network and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aligncvc.section import Section


class Settings(Section):
    """Everything that decides what the network computes."""

    down_channels: list[int] = Field([32, 64, 128, 128], description="of each level on the way down")
    down_attention: list[bool] = Field(
        [False, False, True, True], description="which of them have attention over all views"
    )
    mid_attention: bool = Field(True, description="whether the coarsest level has it between the two ways")
    up_channels: list[int] = Field(
        [128, 128, 64, 32], description="of each level on the way up; fewer levels give fewer Gaussians"
    )
    up_attention: list[bool] = Field(
        [True, True, False, False], description="which of them have attention over all views"
    )
    layers: int = Field(1, description="residual blocks a level on the way down; one more on the way up")
    heads: int = Field(2, description="heads of each attention")
    norm_groups: int | None = Field(
        None,
        ge=1,
        description="of every group norm; null: at most 32, with two channels or more in each, and with the "
        "head lgm 32 as LGM has, where they divide a width",
    )
    head: Literal["ray", "lgm"] = Field(
        "ray", description="how channels become Gaussians; lgm for its checkpoints"
    )
    colour_px: int | None = Field(
        None,
        ge=1,
        description="ray head: a Gaussian's colour lies within those of the square of so many pixels (odd) "
        "around its own, inside the object; null: it is free",
    )
    least_opacity: float = Field(
        0.0, ge=0, lt=1, description="ray head: Gaussians that are less opaque are dropped"
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
    release_flip: bool = Field(
        False,
        description="first-camera world: each camera is turned by half a circle about its x axis before the "
        "rays, as VideoMV's release does, its training does not; all views but the first then look outward",
    )
    sees: Literal["views", "time", "noisy"] = Field(
        "views",
        description="what the network is told beside posed views: nothing, the timestep (Ouroboros3D), or the"
        " timestep, the noisy views and the input image (Gen-3Diffusion)",
    )
    time_channels: int = Field(
        128, ge=2, multiple_of=2, description="of the timestep's sinusoid; its embedding is 4 times as wide"
    )
    time_silu: bool = Field(
        True,
        description="each block's projection of the time embedding comes after SiLU and starts at zero, so "
        "that it is learnt on top of an LGM; Gen-3Diffusion's has neither",
    )
    clamped: bool = Field(
        True, description="decoded views are clamped to [0, 1] before the network; Ouroboros3D's are not"
    )

    @model_validator(mode="after")
    def _groups_divide_the_widths(self) -> Self:
        widths = sorted({*self.down_channels, *self.up_channels})
        if odd := [w for w in widths if w % (self.norm_groups or 1)]:
            raise ValueError(f"norm_groups {self.norm_groups} does not divide the width {odd[0]}")
        return self

    @model_validator(mode="after")
    def _ray_head_s_own(self) -> Self:
        if self.head != "ray" and (self.colour_px is not None or self.least_opacity):
            raise ValueError("colour_px and least_opacity belong to the head ray: leave them out")
        if self.colour_px is not None and self.colour_px % 2 == 0:
            raise ValueError(f"colour_px {self.colour_px} has no middle: give an odd number")
        return self

    @model_validator(mode="after")
    def _flips_with_the_first_camera(self) -> Self:
        if self.release_flip and self.world != "first-camera":
            raise ValueError("release_flip needs world: first-camera")
        return self


ADDED = frozenset(
    {"release_flip", "sees", "time_channels", "time_silu", "clamped", "colour_px", "least_opacity"}
)
"""Settings that are younger than protocols: at their defaults, no protocol's hash knows of them."""

_LGM: dict[str, Any] = {
    "down_channels": [64, 128, 256, 512, 1024, 1024],
    "down_attention": [False] * 3 + [True] * 3,
    "layers": 2,
    "heads": 16,
    "norm_groups": 32,
    "head": "lgm",
    "size_px": 256,
}

_BIG = _LGM | {"up_channels": [1024, 1024, 512, 256, 128], "up_attention": [True] * 3 + [False] * 2}
_TINY: dict[str, Any] = {
    "down_channels": [8, 16],
    "down_attention": [False, True],
    "up_channels": [16, 8],
    "up_attention": [True, False],
}

PRESETS: dict[str, dict[str, Any]] = {
    "big": _BIG,
    "small": _LGM | {"up_channels": [1024, 1024, 512, 256], "up_attention": [True] * 3 + [False]},
    "videomv": _BIG | {"rot_norm_dim": 1, "world": "first-camera", "radius": 1.7, "ray_fov_y_deg": 39.6},
    "ouroboros3d": _BIG
    | {
        "sees": "time",
        "rot_norm_dim": 1,
        "world": "first-camera",
        "radius": 1.741697,
        "ray_fov_y_deg": 39.59775,
        "clamped": False,
    },
    "gen3diffusion": _BIG
    | {
        "sees": "noisy",
        "time_channels": 64,
        "time_silu": False,
        "world": "first-camera",
        "radius": 1.5,
        "ray_fov_y_deg": 49.1,
    },
    "tiny": _TINY,
    "tiny-time": _TINY | {"sees": "time", "time_channels": 8, "head": "lgm", "rot_norm_dim": 1},
    "tiny-noisy": _TINY | {"sees": "noisy", "time_channels": 8, "time_silu": False},
}
"""`big` and `small`: LGM's two released shapes (github 3DTopia/LGM, core/options.py), 415.04 M and 412.96 M
parameters, 128 x 128 and 64 x 64 Gaussians a view of 256 x 256 pixels. `videomv`, `ouroboros3d` and
`gen3diffusion`: the forms of three systems with all that their weights need, 415.04 M, 424.04 M and 419.47 M
(github alibaba/VideoMV c434922, Costwen/Ouroboros3D 8e64942, YuxuanSnow/Gen3Diffusion a8a3366). Without a
preset: the demo's sizes."""
