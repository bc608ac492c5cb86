"""Settings of ImageDream's networks and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from aligncvc.models.generators.parts import (
    SD_LEVELS,
    SD_VAE,
    TINY_CLIP,
    TINY_TEXT,
    TINY_VAE,
    VIT_H,
    LatentSettings,
    Levels,
    Text,
)
from aligncvc.section import Section


class Unet(Levels):
    """Multi-view UNet2DConditionModel in the manner of Stable Diffusion 2."""

    norm_groups: int = Field(16, description="of every group norm")
    context_dim: int = Field(128, ge=1, description="width of text and image tokens")


class Resampler(Section):
    """What makes a few image tokens of an encoder's features (IP-Adapter Plus, arXiv 2308.06721)."""

    tokens: int = Field(4, description="image tokens that come out")
    depth: int = Field(1, description="blocks")
    heads: int = Field(4, description="heads of each attention")
    head_channels: int = Field(32, description="channels of a head")


class Settings(LatentSettings):
    """Everything that decides what the network computes."""

    unet: Unet = Unet()
    resampler: Resampler = Resampler()
    image_encoder: Literal["lite0", "clip"] = Field(
        "lite0",
        description="what the resampler gets: Lite0's last map, or CLIP's tokens before its last block",
    )
    clip_resize: Literal["corners", "antialias"] = Field(
        "corners",
        description="how an image becomes CLIP's size, bicubic: by the centres of corner pixels without "
        "filter, as in Gen-3Diffusion; or with a filter, as in LGM's pipeline",
    )
    text: Text | None = Field(None, description="the tower that reads the prompts; null: one token of zeros")
    prompts: Literal["gen3diffusion", "empty"] = Field(
        "empty", description="text of both branches of guidance: Gen-3Diffusion's two prompts, or none"
    )
    spacing: Literal["trailing", "leading"] = Field(
        "trailing",
        description="timesteps of a sampler: leading ends at 1 and never visits the noisiest, as in the "
        "releases; with few steps it starts far from pure noise, and trailing is right",
    )

    @model_validator(mode="after")
    def _text_is_as_wide_as_images(self) -> Settings:
        if self.text is not None and self.text.hidden_size != self.unet.context_dim:
            raise ValueError(
                f"text.hidden_size is {self.text.hidden_size} and unet.context_dim {self.unet.context_dim}; "
                "make both equal"
            )
        return self


_IMAGEDREAM: dict[str, Any] = {
    "size_px": 256,
    "image_encoder": "clip",
    "clip": VIT_H,
    "vae": SD_VAE,
    "unet": {
        **SD_LEVELS,
        "norm_groups": 32,
        "context_dim": 1024,
    },
    "resampler": {"tokens": 16, "depth": 4, "heads": 12, "head_channels": 64},
    "text": {},
    "spacing": "leading",
}

PRESETS: dict[str, dict[str, Any]] = {
    "gen3diffusion": {**_IMAGEDREAM, "prompts": "gen3diffusion"},
    "ipmv": {**_IMAGEDREAM, "clip_resize": "antialias"},
    "tiny": {
        "vae": TINY_VAE,
        "unet": {"channels": [16, 32], "head_channels": 8, "norm_groups": 4, "context_dim": 16},
        "resampler": {"tokens": 2, "depth": 1, "heads": 2, "head_channels": 8},
        "image_encoder": "clip",
        "clip": TINY_CLIP,
        "text": TINY_TEXT,
        "prompts": "gen3diffusion",
    },
}
"""Gen-3Diffusion's 2D generator (github YuxuanSnow/Gen3Diffusion) and ImageDream "pixel" as LGM uses it (hub
ashawkey/imagedream-ipmv-diffusers): one architecture, 941.67 M parameters, beside the VAE, text tower and
CLIP ViT-H/14. Without a preset: the demo's sizes; tiny: for tests."""
