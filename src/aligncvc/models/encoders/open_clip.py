"""OpenCLIP's names of a CLIP's tensors -> those of transformers' towers, for the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_TEXT = {
    "token_embedding": "embeddings.token_embedding", "ln_final": "final_layer_norm",
}  # fmt: skip
_IMAGE = {
    "conv1": "embeddings.patch_embedding", "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm",
}  # fmt: skip
_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}  # fmt: skip
_IN_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def text_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For a CLIPTextModel without the last block, whose input is what Stable Diffusion 2 was trained with."""
    own = {k: v for k, v in state.items() if not k.startswith("visual.")}
    last = max(int(block[1]) for key in own if (block := _IN_BLOCK.fullmatch(key)))
    ours = _blocks(own, before=last)
    ours["embeddings.position_embedding.weight"] = own["positional_embedding"]
    return ours | _outside(own, _TEXT)


def image_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For a CLIPVisionModelWithProjection."""
    own = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    ours = _blocks(own) | _outside(own, _IMAGE)
    ours["embeddings.class_embedding"] = own["class_embedding"]
    ours["embeddings.position_embedding.weight"] = own["positional_embedding"]
    named = {f"vision_model.{key}": value for key, value in ours.items()}
    return {**named, "visual_projection.weight": own["proj"].T}


def _outside(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    split = ((*key.rpartition(".")[::2], value) for key, value in state.items())
    return {f"{names[layer]}.{leaf}": value for layer, leaf, value in split if layer in names}


def _blocks(state: Mapping[str, Tensor], before: int | None = None) -> dict[str, Tensor]:
    """The transformer's blocks, all or those before one; queries, keys and values in one tensor are split."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        block = _IN_BLOCK.fullmatch(key)
        if block is None or (before is not None and int(block[1]) >= before):
            continue
        index, layer, leaf = block.groups()
        place = f"encoder.layers.{index}"
        if layer == "attn.in_proj":
            for part, tensor in zip("qkv", value.chunk(3), strict=True):
                ours[f"{place}.self_attn.{part}_proj.{leaf}"] = tensor
        else:
            ours[f"{place}.{_BLOCK[layer]}.{leaf}"] = value
    return ours
