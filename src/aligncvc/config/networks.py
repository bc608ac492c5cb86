"""Settings of the networks: generator (with VAE and image encoder) and reconstructor."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from aligncvc.config.architectures import MVG_SIZES, RECON_SIZES, with_published_sizes
from aligncvc.config.protocols import Section


class Vae(Section):
    """AutoencoderKL: `len(channels) - 1` halvings from pixels to latents."""

    channels: list[int] = [24, 48, 96]
    layers: int = 1
    latent_channels: int = 4
    norm_groups: int = 8
    scaling_factor: float = Field(1.0, gt=0, description="latents = encoder mean x this; 0.18215 for SD 1.x")


class Unet(Section):
    """Wonder3D-style multi-view UNet2DConditionModel."""

    channels: list[int] = [64, 128]
    layers: int = 1
    head_channels: int = 64
    heads: int | None = Field(None, ge=1, description="heads at every level; null: channels / head_channels")
    attention: list[bool] | None = Field(
        None, description="levels with transformers, the finest first; null: all of them"
    )
    norm_groups: int = 16
    prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
    cross_domain: bool = Field(
        False, description="a second attention in each transformer, between the normals and colours of a view"
    )

    @model_validator(mode="after")
    def _one_flag_a_level(self) -> Unet:
        if self.attention is not None and len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} flags for {len(self.channels)} channels")
        return self


class Clip(Section):
    """CLIP's image tower, keys of transformers' CLIPVisionConfig; the defaults are ViT-L/14."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    patch_size: int = 14
    image_size: int = 224
    projection_dim: int = 768


class Mvg(Section):
    """The multi-view generator (image -> V views)."""

    kind: str = Field(
        "wonder3d-small",
        description="a key of aligncvc.models.generators.GENERATORS; wonder3d-v1, wonder3d-plus: fixed sizes",
    )
    weights: str | None = Field("demo-teacher", description="ledger id; null starts from random weights")
    vae_weights: str | None = Field("demo-vae", description="ledger id; null starts from random weights")
    image_encoder_weights: str | None = Field(
        None,
        description="ledger id of clip's image tower; null starts from random weights (lite0 has its own)",
    )
    size_px: int | None = Field(None, ge=1, description="side of the generator's views; null: render.size_px")
    vae: Vae = Vae()
    unet: Unet = Unet()
    image_encoder: Literal["lite0", "clip"] = Field("lite0", description="where the image token comes from")
    clip: Clip = Clip()
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
    camera_type: Literal["perspective", "orthographic"] | None = Field(
        None, description="type that the vector names; null: as the weights need, else perspective"
    )
    camera_table: Literal["computed", "wonder3d-v1", "wonder3d-plus", "aligncvc"] | None = Field(
        None,
        description="angles in the vector: of the cameras themselves; Wonder3D's labels of six views, which "
        "its weights were trained with; AlignCVC's absolute elevations; null: as the weights need, else "
        "computed",
    )
    guidance_scale: float = Field(1.3, description="classifier-free guidance at sampling")

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, data: Any) -> Any:
        return with_published_sizes(data, MVG_SIZES)

    @model_validator(mode="after")
    def _domains_exist(self) -> Mvg:
        if self.domains == "both" and self.colours_alone != "self":
            raise ValueError(
                "colours_alone says what happens without normals; leave it out with domains: both"
            )
        return self


class Recon(Section):
    """The feed-forward reconstructor (V views -> Gaussians)."""

    kind: str = Field(
        "lgm-small",
        description="a key of models.reconstructors.RECONSTRUCTORS; lgm-big, lgm-official-small: fixed sizes",
    )
    weights: str | None = Field("demo-recon", description="ledger id; null starts from random weights")
    down_channels: list[int] = [32, 64, 128, 128]
    down_attention: list[bool] = [False, False, True, True]
    mid_attention: bool = True
    up_channels: list[int] = [128, 128, 64, 32]
    up_attention: list[bool] = [True, True, False, False]
    layers: int = 1
    heads: int = 2
    head: Literal["ray", "lgm"] = Field(
        "ray", description="how channels become Gaussians; lgm for its checkpoints"
    )
    size_px: int | None = Field(None, ge=1, description="side that views are resized to; null: as they come")
    rot_norm_dim: Literal[-1, 1] | None = Field(
        None,
        description="lgm head: quaternions are normalised one by one (-1), or over all Gaussians (1, LGM's "
        "first release); null: as the weights need",
    )
    world: Literal["ours", "y-up", "first-camera"] | None = Field(
        None,
        description="the world that rays and Gaussians of the network live in: ours, LGM's y-up one, or that "
        "turned so that the input camera looks along -z; null: as the weights need",
    )
    radius: float | None = Field(
        None, gt=0, description="distance of the input camera in that world; null: as the weights need"
    )
    ray_fov_y_deg: float | Literal["cameras"] | None = Field(
        None, description="vertical field of view of the rays; null: as the weights need"
    )
    projection_fov_y_deg: float | Literal["cameras"] | None = Field(
        None,
        description="field of view at which the network's Gaussians were drawn in its training, if not that "
        "of the rays; null: as the weights need",
    )

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, data: Any) -> Any:
        return with_published_sizes(data, RECON_SIZES)
