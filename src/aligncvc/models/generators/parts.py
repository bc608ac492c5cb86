"""Settings of what generators share: the image VAE, CLIP's towers, a U-Net's levels (no torch here)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from aligncvc.section import Section

LITE0_DIM = 1280
"""Width of Lite0's pooled features."""


class Vae(Section):
    """AutoencoderKL: `len(channels) - 1` halvings from pixels to latents."""

    channels: list[int] = Field([24, 48, 96], description="of each level, the finest first")
    layers: int = Field(1, description="residual blocks a level of the encoder; the decoder has one more")
    latent_channels: int = Field(4, description="channels of a latent")
    norm_groups: int = Field(8, description="of every group norm")
    scaling_factor: float = Field(1.0, gt=0, description="latents = encoder mean x this; 0.18215 for SD 1.x")
    post_quant_conv: bool = Field(True, description="a 1x1 convolution before the decoder")
    video_decoder: bool = Field(
        False,
        description="Stable Video Diffusion's decoder, in which the views of an object see each other; its "
        "norms have 32 groups and there is no convolution before it",
    )


class Clip(Section):
    """CLIP's image tower, keys of transformers' CLIPVisionConfig; the defaults are ViT-L/14."""

    hidden_size: int = Field(1024, description="width of the tokens")
    intermediate_size: int = Field(4096, description="width inside a feed-forward layer")
    num_hidden_layers: int = Field(24, description="blocks")
    num_attention_heads: int = Field(16, description="heads of each attention")
    patch_size: int = Field(14, description="side of a patch in pixels")
    image_size: int = Field(224, description="side that images are resized to")
    projection_dim: int = Field(768, description="width of the projected embedding")
    hidden_act: str = Field("quick_gelu", description="activation of the feed-forward layers")


class LatentSettings(Section):
    """What every generator on an image VAE's latents has beside its U-Net."""

    size_px: int | None = Field(None, ge=1, description="side of the generator's views; null: the renders'")
    vae: Vae = Vae()
    image_encoder: Literal["lite0", "clip"] = Field("lite0", description="where the image token comes from")
    clip: Clip = Clip()

    @property
    def token_dim(self) -> int:
        """Width of the image token."""
        return self.clip.projection_dim if self.image_encoder == "clip" else LITE0_DIM


class Text(Section):
    """CLIP's text tower, keys of transformers' CLIPTextConfig; the defaults are ViT-H/14's without its last
    block, whose input is what Stable Diffusion 2 and its descendants were trained with."""

    hidden_size: int = Field(1024, description="width of the tokens")
    intermediate_size: int = Field(4096, description="width inside a feed-forward layer")
    num_hidden_layers: int = Field(23, description="blocks")
    num_attention_heads: int = Field(16, description="heads of each attention")
    hidden_act: str = Field("gelu", description="activation of the feed-forward layers")


class Levels(Section):
    """A U-Net's levels, the finest first."""

    channels: list[int] = Field([64, 128], description="of each level, the finest first")
    layers: int = Field(1, description="residual blocks a level on the way down; one more on the way up")
    head_channels: int = Field(64, description="channels of an attention head")
    attention: list[bool] | None = Field(
        None, description="levels with transformers, the finest first; null: all of them"
    )

    @model_validator(mode="after")
    def _one_flag_a_level(self) -> Self:
        if self.attention is not None and len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} flags for {len(self.channels)} channels")
        return self

    @property
    def attended(self) -> list[bool]:
        """Whether each level has transformers."""
        return self.attention or [True] * len(self.channels)


class VideoUnet(Levels):
    """UNetSpatioTemporalConditionModel of Stable Video Diffusion; its norms have 32 groups."""

    even_norms: bool = Field(
        True,
        description="every norm of a residual block adds 1e-5 to the variance, as where SVD and SV3D were "
        "trained; false: 1e-6 in some blocks, as in diffusers, for weights that were trained there",
    )

    @model_validator(mode="after")
    def _widths_fit_norms(self) -> Self:
        if any(width % 32 for width in self.channels):
            raise ValueError(f"channels are {self.channels}; its norms need multiples of 32")
        return self


SD_VAE: dict[str, Any] = {
    "channels": [128, 256, 512, 512],
    "layers": 2,
    "norm_groups": 32,
    "scaling_factor": 0.18215,
}
"""Stable Diffusion's, which every published generator here has: latents eight times smaller."""

VIT_H: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
"""OpenCLIP's ViT-H/14 (laion2b): the image tower of SVD, SV3D, VideoMV and ImageDream."""

SD_LEVELS: dict[str, Any] = {
    "channels": [320, 640, 1280, 1280],
    "attention": [True, True, True, False],
    "layers": 2,
}
"""Of Stable Diffusion's U-Net, which SVD, SV3D, VideoMV, ImageDream and Wonder3D have too."""

TINY_VAE: dict[str, Any] = {"channels": [8, 16, 16], "norm_groups": 4}
TINY_CLIP: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
    "projection_dim": 16,
}
TINY_TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
TINY_VIDEO_UNET: dict[str, Any] = {"channels": [32, 64], "head_channels": 16}
"""Sizes of the presets `tiny`, with which tests take every kind through the same checks."""
