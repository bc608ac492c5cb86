"""Names of VideoMV's released files (VGen's, OpenCLIP's, latent diffusion's) -> ours, for the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from torch import Tensor

_LAYERS = 2
"""Residual blocks a level of I2VGen-XL."""

_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
    "local_temporal_encoder.layers.0.0.norm": "image_latents_temporal_encoder.norm1",
    "local_temporal_encoder.layers.0.0.fn.to_qkv": "image_latents_temporal_encoder.attn1.to_qkv",
    "local_temporal_encoder.layers.0.0.fn.to_out.0": "image_latents_temporal_encoder.attn1.to_out.0",
    "local_temporal_encoder.layers.0.1.net.0.0": "image_latents_temporal_encoder.ff.net.0.proj",
    "local_temporal_encoder.layers.0.1.net.2": "image_latents_temporal_encoder.ff.net.2",
}  # fmt: skip
_SEQUENCES = {
    "local_image_concat": "image_latents_proj_in", "local_image_embedding": "image_latents_context_embedding"
}  # fmt: skip
_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_SAMPLER = {"op": "downsamplers.0.conv", "conv": "upsamplers.0.conv"}
_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(?:(\d+)\.)?(?:(\d+)\.)?(.+)")


def unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net of a checkpoint that may hold the reconstructor (`lgm_big.`) too; 1513 tensors -> 1515."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("lgm_big."):
            continue
        layer, _, leaf = key.rpartition(".")
        name = _layer(layer)
        if name.endswith(".to_qkv"):
            for part, tensor in zip("qkv", value.chunk(3), strict=True):
                ours[f"{name.removesuffix('qkv')}{part}.{leaf}"] = tensor
        elif re.search(r"(transformer_in|temp_attentions\.\d+)\.proj_(in|out)$", name) and value.dim() == 3:
            ours[f"{name}.{leaf}"] = value.squeeze(-1)  # a convolution over one view at a time is linear
        elif (name, leaf) == ("conv_in", "weight"):
            noisy, image = value.chunk(2, 1)
            ours["conv_in.weight"] = torch.cat([noisy, 2 * image], 1)  # the official network adds it twice
        else:
            ours[f"{name}.{leaf}"] = value
    return ours


def _layer(name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    block = _BLOCK.fullmatch(name)
    if block is not None:
        stage, index, slot, layer = block.groups()
        return _in_block(stage, int(index), None if slot is None else int(slot), layer)
    first, _, rest = name.partition(".")
    return f"{_SEQUENCES.get(first, first)}.{rest}"


def _in_block(stage: str, index: int, slot: int | None, layer: str) -> str:
    """Slots of a level's layer: a residual block, the transformer over pixels, that over views, a sampler."""
    if stage == "middle_block":
        block, place, slot = "mid_block", index // 3, index
    else:
        down = stage == "input_blocks"
        if down and index == 0:
            return f"transformer_in.{layer}"
        level, place = divmod(index - down, _LAYERS + 1)
        block = f"{'down' if down else 'up'}_blocks.{level}"
    if layer in _RESNET:
        return f"{block}.resnets.{place}.{_RESNET[layer]}"
    if layer in _SAMPLER:
        return f"{block}.{_SAMPLER[layer]}"
    if layer.startswith("temopral_conv."):  # sic
        return f"{block}.temp_convs.{place}.{layer.partition('.')[2]}"
    return f"{block}.{'attentions' if slot == 1 else 'temp_attentions'}.{place}.{layer}"


def vae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The autoencoder, `first_stage_model.` in latent diffusion's names, by diffusers' own conversion."""
    levels = [""] * 4
    return convert_ldm_vae_checkpoint(dict(state), {"down_block_types": levels, "up_block_types": levels})
