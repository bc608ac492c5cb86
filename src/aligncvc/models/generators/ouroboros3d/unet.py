"""Ouroboros3D's U-Net: SVD's, told of cameras by rays and of a 3D model by adapters.

Facts of the design (github Costwen/Ouroboros3D, src/models/unet/mv_unet.py). Keys are those of its
checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from diffusers.models.attention import TemporalBasicTransformerBlock
from torch import Tensor, nn

from aligncvc.models.generators.ouroboros3d.adapters import Adapter
from aligncvc.models.generators.ouroboros3d.rays import RayFeatures, harmonics, plucker


class MapsUnet(nn.Module):
    """SVD's U-Net (`unet`), ray features before each block, and an adapter for each kind of map."""

    # diffusers builds attributes and methods at run time, which type checkers cannot follow
    unet: Any

    def __init__(
        self,
        unet: nn.Module,
        channels: Sequence[int],
        factor: int,
        rays: Literal["released", "true"],
        ray_skips: bool,
        maps: int = 2,
    ) -> None:
        """unet: a UNetSpatioTemporalConditionModel with `channels`. factor: of pixels to latents.

        rays: their formula (`rays.plucker`). ray_skips: whether they reach the skips that begin a block.
        """
        super().__init__()
        self.unet = unet
        self.rays, self.ray_skips = rays, ray_skips
        self.cond_encoder = nn.ModuleList(Adapter(channels, factor) for _ in range(maps))
        up = [channels[-1], *reversed(channels[1:])]
        self.down_plucker = nn.ModuleList(RayFeatures(c) for c in (channels[0], *channels[:-1]))
        self.up_plucker = nn.ModuleList(RayFeatures(c) for c in up)
        self.mid_plucker = RayFeatures(channels[-1])

    def enable_gradient_checkpointing(self) -> None:
        self.unet.enable_gradient_checkpointing()

    def forward(
        self,
        sample: Tensor,
        timesteps: Tensor,
        tokens: Tensor,
        vectors: Tensor,
        maps: Sequence[Tensor],
        c2w: Tensor,
        focal: float,
    ) -> Tensor:
        """sample (B, V, 2 C, h, w), timesteps (B,), tokens (B, 1, D), vectors (B, E) -> (B, V, C, h, w).

        maps: (B, V, 3, H, W) for each adapter. c2w (B, V, 4, 4), focal: as in `rays.plucker`.
        """
        unet, (batch, views) = self.unet, sample.shape[:2]
        told = self._told(sample, timesteps, tokens, vectors)
        seen: dict[int, Tensor] = {}

        def with_rays(x: Tensor, features: nn.Module) -> Tensor:
            side = x.shape[-1]
            if side not in seen:
                seen[side] = harmonics(plucker(c2w, focal, side, self.rays)).to(x.dtype)
            return x + features(seen[side])

        features = [
            adapter(each.flatten(0, 1)) for adapter, each in zip(self.cond_encoder, maps, strict=True)
        ]
        levels = [sum(each[1:], each[0]) for each in zip(*features, strict=True)]

        x = unet.conv_in(sample.flatten(0, 1))
        skips = [x]
        for block, embed, level in zip(unet.down_blocks, self.down_plucker, levels, strict=True):
            x = self._enter(skips, with_rays(x, embed))
            x = _down(block, x, skips, told, level)
        x = self._enter(skips, with_rays(x, self.mid_plucker))
        x = unet.mid_block(x, **told) + levels[-1]
        for block, embed in zip(unet.up_blocks, self.up_plucker, strict=True):
            count = len(block.resnets)
            x = block(
                hidden_states=with_rays(x, embed), res_hidden_states_tuple=tuple(skips[-count:]),
                **_for_block(block, told),
            )  # fmt: skip
            del skips[-count:]
        x = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
        return x.unflatten(0, (batch, views))

    def _told(self, sample: Tensor, timesteps: Tensor, tokens: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """What the blocks are told beside hidden states: one embedding a video, repeated for its views."""
        unet, (batch, views) = self.unet, sample.shape[:2]
        time, vectors = unet.time_proj(timesteps).to(sample.dtype), vectors.to(sample.dtype)
        embedding = unet.time_embedding(time) + unet.add_embedding(vectors)
        return {
            "temb": embedding.repeat_interleave(views, 0),
            "encoder_hidden_states": tokens.repeat_interleave(views, 0),
            "image_only_indicator": sample.new_zeros(batch, views),
        }

    def _enter(self, skips: list[Tensor], x: Tensor) -> Tensor:
        """What a block starts with. The release adds rays in place, and so to the last skip as well."""
        if self.ray_skips:
            skips[-1] = x
        return x


def alternate_tokens(unet: nn.Module) -> None:
    """Give temporal layers a batch's B tokens in turn, as diffusers 0.25.0 does: row r sees token r mod B."""

    def in_turn(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        tokens, batch = named["encoder_hidden_states"], len(inputs[0]) // named["num_frames"]
        mixed = tokens.unflatten(0, (batch, -1)).transpose(0, 1).flatten(0, 1)
        return inputs, named | {"encoder_hidden_states": mixed}

    for module in unet.modules():
        if isinstance(module, TemporalBasicTransformerBlock):
            module.register_forward_pre_hook(in_turn, with_kwargs=True)


def _for_block(block: nn.Module, told: dict[str, Tensor]) -> dict[str, Tensor]:
    """Blocks without transformers take no token."""
    if getattr(block, "has_cross_attention", False):
        return told
    return {key: value for key, value in told.items() if key != "encoder_hidden_states"}


def _down(block: Any, x: Tensor, skips: list[Tensor], told: dict[str, Tensor], features: Tensor) -> Tensor:
    """A down block; maps' features come after its last skip and before it halves, if it has transformers."""
    if not getattr(block, "has_cross_attention", False):
        x, new = block(hidden_states=x, **_for_block(block, told))
        skips += new
        return x
    token, temb, videos = (told[k] for k in ("encoder_hidden_states", "temb", "image_only_indicator"))
    for resnet, attention in zip(block.resnets, block.attentions, strict=True):
        x = _run(block, resnet)(x, temb, videos)
        x = attention(x, encoder_hidden_states=token, image_only_indicator=videos, return_dict=False)[0]
        skips.append(x)
    x = x + features
    for downsampler in block.downsamplers or ():
        x = downsampler(x)
        skips.append(x)
    return x


def _run(block: Any, resnet: nn.Module) -> Callable[..., Tensor]:
    """As diffusers' own block runs it: its activations are computed again in the backward pass, or kept."""
    if not (block.gradient_checkpointing and torch.is_grad_enabled()):
        return resnet
    return lambda *inputs: block._gradient_checkpointing_func(resnet, *inputs)
