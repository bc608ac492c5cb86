"""Settings of ImageDream's networks and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from aligncvc.models.generators.parts import SD_VAE, TINY_CLIP, TINY_VAE, VIT_H, Clip, Vae
from aligncvc.section import Section


class Unet(Section):
    """Multi-view UNet2DConditionModel in the manner of Stable Diffusion 2."""

    channels: list[int] = [64, 128]
    layers: int = 1
    head_channels: int = 64
    attention: list[bool] | None = Field(
        None, description="levels with transformers, the finest first; null: all of them"
    )
    norm_groups: int = 16
    context_dim: int = Field(128, ge=1, description="width of text and image tokens")

    @model_validator(mode="after")
    def _one_flag_a_level(self) -> Unet:
        if self.attention is not None and len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} flags for {len(self.channels)} channels")
        return self


class Resampler(Section):
    """What makes a few image tokens of an encoder's features (IP-Adapter Plus, arXiv 2308.06721)."""

    tokens: int = 4
    depth: int = 1
    heads: int = 4
    head_channels: int = 32


class Text(Section):
    """CLIP's text tower, keys of transformers' CLIPTextConfig; the defaults are Stable Diffusion 2.1's."""

    intermediate_size: int = 4096
    num_hidden_layers: int = 23
    num_attention_heads: int = 16
    hidden_act: str = "gelu"


class Settings(Section):
    """Everything that decides what the network computes."""

    size_px: int | None = Field(None, ge=1, description="side of the generator's views; null: the renders'")
    vae: Vae = Vae()
    unet: Unet = Unet()
    resampler: Resampler = Resampler()
    image_encoder: Literal["lite0", "clip"] = Field(
        "lite0",
        description="what the resampler gets: Lite0's last map, or CLIP's tokens before its last block",
    )
    clip: Clip = Clip()
    clip_resize: Literal["corners", "antialias"] = Field(
        "corners",
        description="how an image becomes CLIP's size, bicubic: by the centres of corner pixels without "
        "filter, as in Gen-3Diffusion; or with a filter, as in LGM's pipeline",
    )
    text: Text | None = Field(None, description="the tower that reads the prompts; null: one token of zeros")
    prompts: Literal["gen3diffusion", "empty"] = Field(
        "empty", description="text of both branches of guidance: Gen-3Diffusion's two prompts, or none"
    )


_IMAGEDREAM: dict[str, Any] = {
    "size_px": 256,
    "image_encoder": "clip",
    "clip": VIT_H,
    "vae": SD_VAE,
    "unet": {
        "channels": [320, 640, 1280, 1280],
        "attention": [True, True, True, False],
        "layers": 2,
        "norm_groups": 32,
        "context_dim": 1024,
    },
    "resampler": {"tokens": 16, "depth": 4, "heads": 12, "head_channels": 64},
    "text": {},
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
        "text": {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "prompts": "gen3diffusion",
    },
}
"""Gen-3Diffusion's 2D generator (github YuxuanSnow/Gen3Diffusion) and ImageDream "pixel" as LGM uses it (hub
ashawkey/imagedream-ipmv-diffusers): one architecture, 941.67 M parameters, beside the VAE, text tower and
CLIP ViT-H/14. Without a preset: the demo's sizes; tiny: for tests."""
