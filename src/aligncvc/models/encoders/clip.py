"""CLIP's image tower (Radford et al. 2021, arXiv 2103.00020), from the local file of the ledger alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.strict import load_strict, read_state
from aligncvc.models.specs import CheckpointAccess

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_BATCH = 16


class ClipImageEncoder(nn.Module):
    """Images to points on CLIP's unit sphere; frozen."""

    mean: Tensor
    std: Tensor

    def __init__(self, **architecture: Any) -> None:
        """architecture: what differs from ViT-B/32 in `transformers.CLIPVisionConfig`."""
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__()
        self.tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**architecture))
        self.size_px = int(architecture.get("image_size", 224))
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, D) of length 1.

        As CLIP was trained: the shorter side resized to the network's size (bicubic, antialiased), the
        centre cropped, normalised.
        """
        return torch.cat([self._embed(part.float()) for part in images.split(_BATCH)])

    def _embed(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        scale = self.size_px / min(height, width)
        size = (max(self.size_px, round(height * scale)), max(self.size_px, round(width * scale)))
        if size != (height, width):
            images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)
        top, left = (size[0] - self.size_px) // 2, (size[1] - self.size_px) // 2
        cropped = images[..., top : top + self.size_px, left : left + self.size_px].clamp(0, 1)
        features = self.tower(pixel_values=(cropped - self.mean) / self.std).image_embeds
        return F.normalize(features, dim=-1)


def load_clip(
    checkpoint_id: str = "clip-vit-b32",
    access: CheckpointAccess = CheckpointAccess(),
) -> ClipImageEncoder:
    """The image tower of a CLIP in the ledger: a file with the names of `transformers`.

    The entry's `network` says what differs from ViT-B/32. Text weights are left alone; every tensor of
    the image tower must match. Raises UserError if the file is missing or holds anything else.
    """
    path = resolve(checkpoint_id, access)
    architecture = load_ledger(access.ledger).entry(checkpoint_id).network or {}
    model = ClipImageEncoder(**{k: v for k, v in architecture.items() if k != "kind"})
    state = {
        key: value.float()
        for key, value in read_state(path).items()
        if key.startswith(("vision_model.", "visual_projection."))
        and not key.endswith(".position_ids")  # a constant that older releases stored
    }
    load_strict(model.tower, state)
    return model
