"""Settings of Wonder3D's networks and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from aligncvc.models.generators.parts import SD_LEVELS, SD_VAE, TINY_CLIP, TINY_VAE, LatentSettings, Levels


class Unet(Levels):
    """Wonder3D-style multi-view UNet2DConditionModel."""

    heads: int | None = Field(None, ge=1, description="heads at every level; null: channels / head_channels")
    norm_groups: int = Field(16, description="of every group norm")
    prediction: Literal["epsilon", "v_prediction"] = Field(
        "v_prediction",
        description="what the network was trained to say: the noise, or v = signal x noise - sigma x image",
    )
    cross_domain: bool = Field(
        False, description="a second attention in each transformer, between the normals and colours of a view"
    )


class Settings(LatentSettings):
    """Everything that decides what the network computes."""

    unet: Unet = Unet()
    domains: Literal["colours", "both"] = Field(
        "colours", description="both: normals and colours, which see each other if unet.cross_domain"
    )
    colours_alone: Literal["self", "view_pairs"] = Field(
        "self",
        description="what cross-domain attention sees where there are colours only: the view itself, or "
        "views v and v + V/2, as in AlignCVC's release",
    )
    camera_dim: Literal[10, 14] = Field(
        14, description="length of the camera and task vector; 10 (Wonder3D v1) has no camera type"
    )
    camera_type: Literal["perspective", "orthographic"] = Field(
        "perspective", description="type that the vector names"
    )
    camera_table: Literal["computed", "wonder3d-v1", "wonder3d-plus", "aligncvc"] = Field(
        "computed",
        description="angles in the vector: of the cameras themselves; Wonder3D's labels of six views, which "
        "its weights were trained with; AlignCVC's absolute elevations",
    )

    @model_validator(mode="after")
    def _domains_exist(self) -> Settings:
        if self.domains == "both" and self.colours_alone != "self":
            raise ValueError(
                "colours_alone says what happens without normals; leave it out with domains: both"
            )
        return self


_WONDER3D: dict[str, Any] = {
    "size_px": 256,
    "image_encoder": "clip",
    "vae": SD_VAE,
    "unet": {
        **SD_LEVELS,
        "heads": 8,
        "norm_groups": 32,
        "prediction": "epsilon",
        "cross_domain": True,
    },
}

PRESETS: dict[str, dict[str, Any]] = {
    "v1": {**_WONDER3D, "camera_dim": 10},
    "plus": {**_WONDER3D, "camera_dim": 14},
    "tiny": {
        "vae": TINY_VAE,
        "unet": {"channels": [16, 32], "head_channels": 8, "norm_groups": 4},
        "image_encoder": "clip",
        "clip": TINY_CLIP,
    },
}
"""Wonder3D v1 and Wonder3D++ (github xxlong0/Wonder3D, branches main and Wonder3D_Plus): Stable Diffusion 1.x
with eight input channels, cross-domain attention and a camera projection, 910.79 M parameters, beside its VAE
and CLIP ViT-L/14's image tower. Without a preset: the demo's sizes; tiny: for tests."""
