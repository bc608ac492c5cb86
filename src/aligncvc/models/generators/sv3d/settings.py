"""Settings of SV3D's networks and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from aligncvc.models.generators.parts import (
    SD_LEVELS,
    SD_VAE,
    TINY_CLIP,
    TINY_VAE,
    TINY_VIDEO_UNET,
    VIT_H,
    LatentSettings,
    VideoUnet,
)


class Settings(LatentSettings):
    """Everything that decides what the network computes."""

    unet: VideoUnet = VideoUnet()
    told: Literal["angles", "nothing"] = Field(
        "angles",
        description="what the network is told of a view's camera: its elevation and azimuth (SV3D_p), or "
        "nothing (SV3D_u: views evenly spaced, all at the input's elevation)",
    )
    turn: Literal["counter-clockwise", "clockwise"] = Field(
        "counter-clockwise", description="how azimuths grow in the network's training, seen from above"
    )
    noise_level: float = Field(
        1e-5,
        ge=0,
        description="noise on the input image that the network is told of; none is added, since 1e-5 of the "
        "range is below an 8-bit image's rounding",
    )


_SV3D: dict[str, Any] = {
    "size_px": 576,
    "vae": {**SD_VAE, "post_quant_conv": False},
    "unet": SD_LEVELS,
    "image_encoder": "clip",
    "clip": VIT_H,
}

PRESETS: dict[str, dict[str, Any]] = {
    "p": {**_SV3D, "told": "angles"},
    "u": {**_SV3D, "told": "nothing"},
    "tiny": {
        "vae": {**TINY_VAE, "post_quant_conv": False},
        "unet": TINY_VIDEO_UNET,
        "image_encoder": "clip",
        "clip": TINY_CLIP,
    },
}
"""SV3D_p and SV3D_u (arXiv 2403.12008; github Stability-AI/generative-models): 1525.28 M and 1523.97 M
parameters, beside Stable Diffusion's VAE without its post_quant_conv and OpenCLIP ViT-H/14's image tower.
Without a preset: the demo's sizes; tiny: for tests."""
