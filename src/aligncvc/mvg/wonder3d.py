"""A Wonder3D-style generator: a stock diffusers U-Net whose self-attention sees all views of an object.

Facts of the design (github xxlong0/Wonder3D, branch Wonder3D_Plus): condition latents are concatenated
to the noisy ones, one image token goes through cross-attention, and a sin/cos camera-and-task vector
is the class embedding. Colour rows only; the views of one object are consecutive rows.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from aligncvc.cameras import Cameras, spherical_deg
from aligncvc.config import Mvg
from aligncvc.encoders import Lite0, load_lite0
from aligncvc.mvg.base import Condition, MultiViewGenerator

CAMERA_DIM = 14
LITE0_DIM = 1280


class MultiViewAttention:
    """Self-attention processor: keys and values of the V consecutive rows of an object are joined."""

    def __init__(self, views: int) -> None:
        self.views = views
        self.attend = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states (B V, T, C), transformer tokens of one view a row."""
        rows, tokens, channels = hidden_states.shape
        joined = hidden_states.reshape(rows // self.views, self.views * tokens, channels)
        return self.attend(attn, joined).reshape(rows, tokens, channels)


def camera_embedding(cameras: Tensor) -> Tensor:
    """(B, V, 4, 4) c2w with the input view first -> (B, V, 14), the Wonder3D++ vector.

    sin and cos of (input elevation 0, elevation difference, azimuth, perspective [1, 0], colour [0, 1]);
    angles in radians. Sine and cosine apply to the one-hots too, as in the original.
    """
    azimuth, elevation, _ = spherical_deg(Cameras(cameras, fov_y_deg=1.0, width=1, height=1))
    delta = (elevation - elevation[..., :1]).deg2rad()
    one, zero = torch.ones_like(azimuth), torch.zeros_like(azimuth)
    vector = torch.stack([zero, delta, azimuth.deg2rad(), one, zero, zero, one], -1)
    return torch.cat([vector.sin(), vector.cos()], -1)


class Wonder3D(MultiViewGenerator):
    """Multi-view latent diffusion at any size; the demo's and the paper's class are the same."""

    def __init__(self, config: Mvg, size_px: int, image_encoder: Lite0 | None = None) -> None:
        """size_px: height and width of the views. image_encoder None loads the bundled Lite0."""
        super().__init__()
        vae, unet = config.vae, config.unet
        self.size_px = size_px
        self.scaling_factor = vae.scaling_factor
        self.latent_channels = vae.latent_channels
        self.factor = 2 ** (len(vae.channels) - 1)
        self.vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(vae.channels),
            up_block_types=("UpDecoderBlock2D",) * len(vae.channels),
            block_out_channels=tuple(vae.channels),
            layers_per_block=vae.layers,
            latent_channels=vae.latent_channels,
            norm_num_groups=vae.norm_groups,
            sample_size=size_px,
        )
        levels = len(unet.channels)
        self.unet = UNet2DConditionModel(
            sample_size=size_px // self.factor,
            in_channels=2 * vae.latent_channels,
            out_channels=vae.latent_channels,
            block_out_channels=tuple(unet.channels),
            down_block_types=("CrossAttnDownBlock2D",) * levels,
            up_block_types=("CrossAttnUpBlock2D",) * levels,
            layers_per_block=unet.layers,
            norm_num_groups=unet.norm_groups,
            cross_attention_dim=LITE0_DIM,
            # diffusers' historical name: this tuple counts heads
            attention_head_dim=tuple(max(1, c // unet.head_channels) for c in unet.channels),
            class_embed_type="projection",
            projection_class_embeddings_input_dim=CAMERA_DIM,
        )
        self.unet.set_attn_processor(
            {
                name: MultiViewAttention(views=1) if name.endswith("attn1.processor") else AttnProcessor2_0()
                for name in self.unet.attn_processors
            }
        )
        self.image_encoder = load_lite0() if image_encoder is None else image_encoder
        self.scheduler = DDPMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            prediction_type=unet.prediction,
        )
        self.vae.requires_grad_(False)
        self.image_encoder.requires_grad_(False)

    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        side = self.size_px // self.factor
        return views, self.latent_channels, side, side

    def encode(self, images: Tensor) -> Tensor:
        latents = self.vae.encode(images.flatten(0, 1) * 2 - 1).latent_dist.mode()
        return latents.unflatten(0, images.shape[:2]) * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        images = self.vae.decode(latents.flatten(0, 1) / self.scaling_factor).sample
        return images.unflatten(0, latents.shape[:2]) / 2 + 0.5

    @torch.no_grad()
    def encode_condition(self, image: Tensor, cameras: Tensor) -> Condition:
        tokens = self.image_encoder.embed(image)[:, None]
        # pooled ReLU6 features are small and positive; unit RMS suits a linear projection
        tokens = tokens / tokens.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
        return Condition(tokens, self.encode(image[:, None])[:, 0], camera_embedding(cameras))

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        batch, views = z_t.shape[:2]
        for processor in self.unet.attn_processors.values():
            if isinstance(processor, MultiViewAttention):
                processor.views = views
        condition_latents = condition.latents[:, None].expand(-1, views, -1, -1, -1)
        rows = torch.cat([z_t, condition_latents], dim=2).flatten(0, 1)
        output = self.unet(
            rows,
            timesteps.repeat_interleave(views),
            encoder_hidden_states=condition.tokens.repeat_interleave(views, 0),
            class_labels=condition.cameras.flatten(0, 1),
        ).sample
        return output.unflatten(0, (batch, views))
