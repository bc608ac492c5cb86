"""Names of the released files (latent-diffusion's, as in ImageDream) -> ours (diffusers'), for the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)\.(?:(\d+)\.)?(\d+)\.(.+)")
_OUTSIDE = {
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "camera_embed.0": "class_embedding.linear_1", "camera_embed.2": "class_embedding.linear_2",
}  # fmt: skip
_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_SAMPLER = {"op": "downsamplers.0.conv", "conv": "upsamplers.0.conv"}
_RESAMPLER = {
    "0.norm1": "ln0", "0.norm2": "ln1", "0.to_q": "attn.to_q", "0.to_out": "attn.to_out.0",
    "1.0": "ff.0", "1.1": "ff.1.net.0.proj", "1.3": "ff.1.net.2",
}  # fmt: skip


def unet_from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The multi-view U-Net with its resampler, under our names; keys and values in one tensor are split."""
    # a level is its layers and one more: the downsampler here, the first layer of the way up there
    period = min((int(key.split(".")[1]) for key in state if ".0.op." in key), default=1)
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, leaf = key.rpartition(".")
        if layer.endswith(".0.to_kv"):
            place = f"image_embed.{layer.split('.', 1)[1].removesuffix('.0.to_kv')}.attn"
            ours[f"{place}.to_k.{leaf}"], ours[f"{place}.to_v.{leaf}"] = value.chunk(2)
        elif layer in _OUTSIDE:
            ours[f"{_OUTSIDE[layer]}.{leaf}"] = value
        elif resampler := re.fullmatch(r"(image_embed\.layers\.\d+)\.(.+)", layer):
            ours[f"{resampler[1]}.{_RESAMPLER[resampler[2]]}.{leaf}"] = value
        elif block := _BLOCK.fullmatch(layer):
            ours[f"{_in_block(period, *block.groups())}.{leaf}"] = value
        else:
            ours[key] = value
    return ours


def _in_block(period: int, stage: str, index: str | None, part: str, layer: str) -> str:
    if stage == "middle_block":
        block, place = "mid_block", int(part) // 2
    else:
        down = stage == "input_blocks"
        level, place = divmod(int(index or 0) - down, period)
        block = f"{'down' if down else 'up'}_blocks.{level}"
    if layer in _RESNET:
        return f"{block}.resnets.{place}.{_RESNET[layer]}"
    if layer in _SAMPLER:
        return f"{block}.{_SAMPLER[layer]}"
    return f"{block}.attentions.{place}." + re.sub(r"(to_[kv]_ip)$", r"processor.\1.0", layer)
