"""Settings of Ouroboros3D's multi-view network and the published preset (no torch here)."""

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

TAKES_MAPS = True


class Settings(LatentSettings):
    """Everything that decides what the network computes."""

    unet: VideoUnet = VideoUnet(channels=[32, 64, 64], head_channels=32, even_norms=False)
    radius: float = Field(
        1.7416968, gt=0, description="distance of the input camera in the network's world, as it was trained"
    )
    fov_y_deg: float = Field(39.597752, gt=0, lt=180, description="field of view of the rays")
    rays: Literal["released", "true"] = Field(
        "released",
        description="true: through pixel centres; released: with rows and columns swapped, the rotation "
        "transposed and the camera's centre subtracted, as the published weights need",
    )
    ray_skips: bool = Field(
        True,
        description="rays reach the skip that a block starts from, as the published weights need: their code "
        "adds them in place; false: hidden states only",
    )
    temporal_context: Literal["own", "released"] = Field(
        "own",
        description="the token that temporal layers see: the object's own; released: of guidance's two "
        "branches in turn, pixel by pixel, as the release samples one object (its diffusers 0.25.0 has the "
        "axes in another order); at batch 1, as the weights were trained, both are the same",
    )
    coordinates: Literal["released", "true"] = Field(
        "released",
        description="maps of where rendered pixels lie; true: x / 2 + 0.5; released: pixels' numbers taken "
        "for shares of the image's side and x / 1000 + 0.5, as the published weights need",
    )
    noise_aug: float = Field(
        0.02, ge=0, description="noise on the condition's pixels in [-1, 1], which the network is told of"
    )
    condition_noise: bool = Field(
        True,
        description="add that noise, the same field for each image, from a named random stream; false: only "
        "tell the network of it",
    )
    fps_id: int = Field(6, description="frames a second less one, as the network is told")
    motion_bucket: int = Field(127, description="amount of motion that the network is told")
    least_guidance: float = Field(
        1.0, description="guidance of the first view; it grows evenly to the whole at the last view"
    )


PRESETS: dict[str, dict[str, Any]] = {
    "released": {
        "size_px": 512,
        "image_encoder": "clip",
        "clip": VIT_H,
        "vae": {**SD_VAE, "video_decoder": True, "post_quant_conv": False},
        "unet": {**SD_LEVELS, "even_norms": False},
    },
    "tiny": {
        "vae": TINY_VAE,
        "unet": {**TINY_VIDEO_UNET, "even_norms": False},
        "image_encoder": "clip",
        "clip": TINY_CLIP,
    },
}
"""Ouroboros3D (github Costwen/Ouroboros3D, 8e64942): Stable Video Diffusion's U-Net with two adapters and ray
features, 1765.03 M parameters, beside SVD's VAE and OpenCLIP ViT-H/14's image tower. Without a preset: the
demo's sizes; tiny: for tests."""
