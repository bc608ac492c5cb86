"""Names of the one released file (those of Stability AI's generative-models) -> ours, for the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping

from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from torch import Tensor

from aligncvc.models.encoders.open_clip import image_tower

_UNET = "model.diffusion_model."
_CLIP = "conditioner.embedders.0.open_clip.model."
_AUTOENCODER = "conditioner.embedders.1.encoder."
_DECODER = "first_stage_model."

_PERIOD = 3
"""Slots a level: two residual blocks, then the downsampler; on the way up three residual blocks."""

_OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip
_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_SAMPLER = {"op": "downsamplers.0.conv", "conv": "upsamplers.0.conv"}
_POSITION = {"time_pos_embed.0": "time_pos_embed.linear_1", "time_pos_embed.2": "time_pos_embed.linear_2"}
_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(?:(\d+)\.)?(\d+)\.(.+)")


def unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """1428 tensors of the denoiser."""
    ours: dict[str, Tensor] = {}
    for key, value in _inside(state, _UNET).items():
        layer, _, leaf = key.rpartition(".")
        block = _BLOCK.fullmatch(layer)
        name = _OUTSIDE[layer] if layer in _OUTSIDE or block is None else _in_block(*block.groups())
        ours[f"{name}.{leaf}"] = value
    return ours


def _in_block(stage: str, index: str | None, slot: str, layer: str) -> str:
    if stage == "middle_block":
        block, place = "mid_block", int(slot) // 2
        residual = slot != "1"
    else:
        down = stage == "input_blocks"
        level, place = divmod(int(index or 0) - down, _PERIOD)
        block, residual = f"{'down' if down else 'up'}_blocks.{level}", slot == "0"
    if layer in _SAMPLER:
        return f"{block}.{_SAMPLER[layer]}"
    if not residual:
        name = _POSITION.get(layer, layer.replace("time_stack.", "temporal_transformer_blocks."))
        return f"{block}.attentions.{place}.{name}"
    if layer == "time_mixer":
        return f"{block}.resnets.{place}.time_mixer"
    over_views = layer.startswith("time_stack.")
    part = "temporal_res_block" if over_views else "spatial_res_block"
    return f"{block}.resnets.{place}.{part}.{_RESNET[layer.removeprefix('time_stack.')]}"


def vae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """246 tensors: the encoder that conditions, and the decoder of the first stage, which has no other."""
    encoder = _inside(state, _AUTOENCODER)
    own = {k: v for k, v in encoder.items() if k.startswith(("encoder.", "quant_conv."))}
    decoder = {k: v for k, v in _inside(state, _DECODER).items() if k.startswith("decoder.")}
    levels = [""] * 4
    return convert_ldm_vae_checkpoint(own | decoder, {"down_block_types": levels, "up_block_types": levels})


def image_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's image tower; what is left of its text tower is not."""
    return image_tower(_inside(state, _CLIP))


def _inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
