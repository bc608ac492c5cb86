"""Fixed prompts through CLIP's text tower, as token ids, so that no vocabulary file is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from aligncvc.models.generators.parts import Text

START, END, PAD, LENGTH = 49406, 49407, 0, 77
"""Begin and end of a text, what follows its end (OpenCLIP's 0, "!"), and the whole length."""


def padded(ids: Sequence[int]) -> list[int]:
    """Between start and end, and padded to LENGTH."""
    return [START, *ids, END, *[PAD] * (LENGTH - 2 - len(ids))]


def build_text_encoder(text: Text) -> Any:
    """With random weights, frozen; its final norm follows the last block that it has."""
    tower: Any = CLIPTextModel(CLIPTextConfig(max_position_embeddings=LENGTH, **text.model_dump()))
    return tower.requires_grad_(False).eval()


def text_tokens(tower: Any, prompts: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
    """Ids of each prompt -> its tokens (1, LENGTH, D)."""
    ids = torch.tensor([padded(prompt) for prompt in prompts], device=device)
    return list(tower(input_ids=ids).last_hidden_state.split(1))
