"""Settings of GeoLRM's networks and the published presets (no torch here)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from aligncvc.section import Section


class Backbone(Section):
    """DINOv2, keys of transformers' Dinov2Config; image_size and patch_size fix the grid of positions."""

    hidden_size: int = Field(96, description="width of the tokens")
    num_hidden_layers: int = Field(4, description="blocks")
    num_attention_heads: int = Field(4, description="heads of each attention")
    patch_size: int = Field(8, description="side of a patch in pixels")
    image_size: int = Field(64, description="side of the images that positions were learnt for")


class Transformer(Section):
    """A stack over tokens in space; feed_forward: width between w1 and w2."""

    dim: int = Field(96, description="width of the tokens")
    layers: int = Field(2, description="blocks")
    heads: int = Field(4, description="heads of each attention")
    feed_forward: int = Field(256, description="width inside a feed-forward layer")

    @model_validator(mode="after")
    def _axes_share_a_head(self) -> Transformer:
        if self.dim % (6 * self.heads):
            raise ValueError(
                f"dim {self.dim} must be a multiple of 6 x {self.heads} heads: a third of a head turns with "
                "each axis, two numbers at a time"
            )
        return self


class Settings(Section):
    """Everything that decides what the networks compute."""

    size_px: int = Field(64, ge=1, description="side that views are resized to (bicubic, antialiased)")
    backbone: Backbone = Backbone()
    positions: Literal["size", "offset"] = Field(
        "size",
        description="how DINOv2's grid of positions is resized: to the size, or by the factor "
        "(patches + 0.1) / grid, as transformers 4.34 did, which the release pins",
    )
    features: int = Field(96, description="channels of both levels of image features")
    grid: int = Field(16, description="voxels along a side of the box")
    cell: int = Field(2, description="voxels along a side of the cell that one token of the proposal decides")
    points: int = Field(4, description="points that a head reads on each level of a view")
    proposal: Transformer = Transformer()
    reconstruction: Transformer = Transformer(dim=192, layers=4, feed_forward=512)
    max_tokens: int = Field(384, ge=1, description="most voxels that become tokens")
    gaussians_per_token: int = Field(8, description="Gaussians that each token emits")
    offset_max: float = Field(0.15, gt=0, description="farthest Gaussian of a voxel along each axis")
    offsets: Literal["positive", "around"] = Field(
        "positive",
        description="where a token's Gaussians may stand: on the positive side of each axis, as the release "
        "has it, or on both sides",
    )
    scale_max: float = Field(0.05, gt=0, description="largest standard deviation")
    radius: float | None = Field(
        None,
        gt=0,
        description="distance of the input camera in the network's world; null: our unit sphere becomes the "
        "ball of radius 0.5 that its box holds",
    )
    self_attention: Literal["heads", "tokens"] = Field(
        "heads",
        description="heads: each token's heads attend to each other and the result is read in another order, "
        "which is what the official code does in float32 and the released weights were trained with; tokens: "
        "attention between tokens, its bfloat16 branch",
    )
    rope_scale: float = Field(
        0.5,
        gt=0,
        description="half side of the box that voxel indices of the reconstruction count in: 0.5 in its "
        "training, 1.0 (indices 31 to 95) in the inference scripts; between heads it changes nothing",
    )
    tokens: Literal["sorted", "shuffled"] = Field(
        "sorted",
        description="sorted: by voxel, the likeliest if there are more than max_tokens; shuffled: with "
        "max_tokens or more a random subset in random order, as the official code has it",
    )
    seed: int = Field(0, description="of that random order")
    pad_tokens: bool = Field(
        False,
        description="fill up to max_tokens with tokens at the origin that each emit Gaussians, as the "
        "official code does",
    )

    @model_validator(mode="after")
    def _sizes_divide(self) -> Settings:
        for side in (self.backbone.patch_size, 4):
            if self.size_px % side:
                raise ValueError(f"size_px {self.size_px} must be a multiple of {side}")
        if self.grid % self.cell:
            raise ValueError(f"grid {self.grid} must be a multiple of cell {self.cell}")
        return self


_TRAINED: dict[str, Any] = {
    "size_px": 448,
    "backbone": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 14,
        "image_size": 518,
    },
    "positions": "offset",
    "features": 384,
    "grid": 128,
    "cell": 8,
    "points": 8,
    "proposal": {"dim": 384, "layers": 6, "heads": 16, "feed_forward": 1024},
    "reconstruction": {"dim": 768, "layers": 16, "heads": 16, "feed_forward": 2048},
    "max_tokens": 8192,
    "gaussians_per_token": 32,
    "offset_max": 0.2,
    "scale_max": 0.02,
}

PRESETS: dict[str, dict[str, Any]] = {
    "base": _TRAINED,
    "official-inference": {
        **_TRAINED,
        "size_px": 560,
        "radius": 1.5,
        "rope_scale": 1.0,
        "tokens": "shuffled",
        "pad_tokens": True,
    },
    "tiny": {
        "size_px": 32,
        "backbone": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 8,
            "image_size": 32,
        },
        "features": 16,
        "grid": 8,
        "points": 2,
        "proposal": {"dim": 24, "layers": 1, "heads": 2, "feed_forward": 32},
        "reconstruction": {"dim": 24, "layers": 2, "heads": 2, "feed_forward": 32},
        "max_tokens": 48,
        "gaussians_per_token": 4,
    },
}
"""GeoLRM (arXiv 2406.15333, github alibaba-yuanjing-aigclab/GeoLRM): 105.7 M and 228.8 M parameters. base: as
in its training, with as many tokens as its inference has; official-inference: as its scripts run the same
weights. Without a preset: a size that trains in minutes; tiny: for tests."""
