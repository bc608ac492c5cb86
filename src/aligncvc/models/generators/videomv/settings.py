"""Settings of VideoMV's generator and the published presets (no torch here)."""

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


class Unet(Levels):
    """I2VGen-XL's video U-Net: transformers over a view's pixels, and over a pixel's views."""

    channels: list[int] = Field([48, 96], description="of each level, the finest first")
    head_channels: int = Field(16, description="channels of an attention head")
    norm_groups: int = Field(16, description="of every group norm")


class Settings(LatentSettings):
    """Everything that decides what the network computes."""

    unet: Unet = Unet()
    text: Text | None = Field(None, description="the tower that reads the two fixed prompts; null: no text")
    fps: int = Field(8, ge=1, description="frames a second that the network is told; 8 in training")
    camera_radius: float = Field(
        1.7, gt=0, description="distance of the input view that the camera tokens tell, whatever the scene's"
    )
    spacing: Literal["trailing", "leading"] = Field(
        "trailing",
        description="timesteps of a sampler: leading ends at 1 and never visits the noisiest, as in the "
        "release (50 steps from 981); with few steps it starts far from pure noise, and trailing is right",
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Settings:
        if self.vae.latent_channels != 4:
            raise ValueError("vae.latent_channels must be 4: the U-Net's image modules are made for it")
        if self.text is not None and self.text.hidden_size != self.token_dim:
            raise ValueError(
                f"text.hidden_size is {self.text.hidden_size} and image tokens are {self.token_dim} wide; "
                "make both equal"
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "i2v": {
        "size_px": 256,
        "vae": SD_VAE,
        "unet": {
            **SD_LEVELS,
            "head_channels": 64,
            "norm_groups": 32,
        },
        "image_encoder": "clip",
        "clip": VIT_H,
        "text": {},
        "spacing": "leading",
    },
    "tiny": {
        "vae": TINY_VAE,
        "unet": {"channels": [16, 32], "head_channels": 8, "norm_groups": 4},
        "image_encoder": "clip",
        "clip": TINY_CLIP,
        "text": TINY_TEXT,
    },
}
"""VideoMV's image-to-multi-view model (github alibaba/VideoMV, arXiv 2403.12010): I2VGen-XL's U-Net with
camera tokens, 1422.13 M parameters, beside its VAE and both towers of OpenCLIP's ViT-H/14. Without a preset:
the demo's sizes; tiny: for tests."""
