"""I2VGen-XL's U-Net (diffusers), told where each view's camera stands.

Facts of the design (github alibaba/VideoMV, tools/modules/unet/unet_i2vgen.py): the camera's 16 numbers go
through an MLP and are added to the embedding of time and frame rate, view by view. The clean latents of the
input image enter twice: beside the noisy ones, mixed over the views by a small transformer, and as 64 tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import I2VGenXLUNet
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aligncvc.models.generators.videomv.settings import Settings

CAMERA_DIM = 16


class CameraUnet(I2VGenXLUNet):
    """The stock modules in a forward pass of its own; nothing is dropped out, also in training."""

    if TYPE_CHECKING:  # diffusers builds attributes at run time

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        width = self.conv_in.out_channels
        self.camera_embedding = nn.Sequential(
            nn.Linear(CAMERA_DIM, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)
        )
        for parameter in self.camera_embedding[-1].parameters():
            nn.init.zeros_(parameter)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # a student is compared with its frozen teacher
            elif isinstance(module, TransformerTemporalModel):  # views start alone, as in VGen
                for parameter in module.proj_out.parameters():
                    nn.init.zeros_(parameter)
        self.repeats_activations = False

    def enable_gradient_checkpointing(self, *_: Any) -> None:
        """Block by block; the stock class has none."""
        self.repeats_activations = True

    def forward(  # type: ignore[override]
        self,
        noisy: Tensor,
        timesteps: Tensor,
        fps: Tensor,
        cameras: Tensor,
        latents: Tensor,
        text: Tensor,
        image: Tensor,
    ) -> Tensor:
        """The network's prediction (B, V, 4, h, w).

        Args:
            noisy: latents (B, V, 4, h, w).
            timesteps: (B,).
            fps: frames a second (B,).
            cameras: (B, V, 16).
            latents: of the input image (B, 4, h, w).
            text: tokens (B, T, D), T may be 0.
            image: the image's embedding (B, D).
        """
        batch, views = noisy.shape[:2]
        shared = {"temb": self._embedding(timesteps, fps, cameras).flatten(0, 1), "num_frames": views}
        context = self._context(latents, text, image).repeat_interleave(views, 0)

        def told(block: nn.Module) -> dict[str, Any]:
            return {**shared, "encoder_hidden_states": context} if _sees_context(block) else shared

        x = self.conv_in(torch.cat([noisy, self._image_in_views(latents, views)], 2).flatten(0, 1))
        x = self.transformer_in(x, num_frames=views, return_dict=False)[0]
        skips = [x]
        for block in self.down_blocks:
            x, outputs = self._run(block, x, **told(block))
            skips.extend(outputs)
        x = self._run(self.mid_block, x, **told(self.mid_block))
        for block in self.up_blocks:
            own = len(block.resnets)
            x = self._run(block, x, res_hidden_states_tuple=tuple(skips[-own:]), **told(block))
            del skips[-own:]
        out: Tensor = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return out.unflatten(0, (batch, views))

    def _run(self, block: nn.Module, x: Tensor, **told: Any) -> Any:
        if self.repeats_activations and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False, **told)
        return block(x, **told)

    def _embedding(self, timesteps: Tensor, fps: Tensor, cameras: Tensor) -> Tensor:
        """(B, V, E) of the time, the frame rate and each view's camera."""
        time, rate = (self.time_proj(x).to(cameras.dtype) for x in (timesteps, fps))
        whole = self.time_embedding(time) + self.fps_embedding(rate)
        return whole[:, None] + self.camera_embedding(cameras)

    def _context(self, latents: Tensor, text: Tensor, image: Tensor) -> Tensor:
        """(B, T + 64 + 4, D): text, the image's latents, its embedding."""
        local = self.image_latents_context_embedding(latents).flatten(2).transpose(1, 2)
        overall = self.context_embedding(image).unflatten(1, (-1, local.shape[-1]))
        return torch.cat([text, local, overall], 1)

    def _image_in_views(self, latents: Tensor, views: int) -> Tensor:
        """(B, V, 4, h, w) beside the noisy latents: the image in view 0, a plane of k / (V - 1) in view k."""
        share = torch.arange(views, device=latents.device, dtype=latents.dtype) / max(1, views - 1)
        planes = share[1:, None, None, None].expand(len(latents), -1, *latents.shape[1:])
        frames = torch.cat([latents[:, None], planes], 1)
        seen = self.image_latents_proj_in(frames.flatten(0, 1)).unflatten(0, (-1, views))
        batch, _, channels, height, width = seen.shape
        pixels = seen.permute(0, 3, 4, 1, 2).reshape(-1, views, channels)
        mixed = self.image_latents_temporal_encoder(pixels)
        return mixed.reshape(batch, height, width, views, channels).permute(0, 3, 4, 1, 2)


def _sees_context(block: nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


def build_unet(config: Settings, side: int) -> CameraUnet:
    """The denoiser with random weights; side (of the latents) is a note for diffusers only."""
    unet = config.unet
    attention = unet.attended
    return CameraUnet(
        sample_size=side,
        in_channels=config.vae.latent_channels,
        out_channels=config.vae.latent_channels,
        down_block_types=tuple("CrossAttnDownBlock3D" if a else "DownBlock3D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock3D" if a else "UpBlock3D" for a in reversed(attention)),
        block_out_channels=tuple(unet.channels),
        layers_per_block=unet.layers,
        norm_num_groups=unet.norm_groups,
        cross_attention_dim=config.token_dim,
        attention_head_dim=unet.head_channels,
    )
