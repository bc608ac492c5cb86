"""GeoLRM: posed views -> occupied voxels -> Gaussians beside them (arXiv 2406.15333)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.models.reconstructors.base import At
from aligncvc.models.reconstructors.geolrm.encoder import Encoder
from aligncvc.models.reconstructors.geolrm.frames import Frame, project, rays, to_frame
from aligncvc.models.reconstructors.geolrm.heads import GaussianHead, together
from aligncvc.models.reconstructors.geolrm.occupancy import Proposal
from aligncvc.models.reconstructors.geolrm.settings import Settings
from aligncvc.models.reconstructors.geolrm.transformer import GeoTransformer
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Reconstruction(nn.Module):
    """Posed views and tokens -> Gaussians, in the networks' world."""

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.transformer = GeoTransformer(config.reconstruction, config, config.rope_scale)
        self.renderer = GaussianHead(config)

    def forward(self, pixels: Tensor, cameras: Cameras, tokens: list[Tensor]) -> Gaussians:
        """Normalised pixels (B, V, 3, H, W), cameras (B, V, 4, 4), B times tokens (S_b, 3) -> (B, N)."""
        off = torch.autocast(pixels.device.type, enabled=False)
        with off:
            beams = rays(cameras)
        features, shapes = self.encoder(pixels, beams)
        objects = []
        for b, points in enumerate(tokens):  # of different numbers, and padding would be attended to
            with off:
                at = project(replace(cameras, c2w=cameras.c2w[b : b + 1]), points[None])
            latents = self.transformer(points[None], features[b : b + 1], shapes, at)
            objects.append(self.renderer(points[None], latents))
        return together(objects)


class GeoLRM(nn.Module):
    """The proposal has no gradient here: a threshold lies behind it. `occupancy` trains it."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config
        self.serializer = Proposal(config)
        self.lrm_generator = Reconstruction(config)
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, cameras: Cameras, at: At | None = None) -> Gaussians:
        """images (B, V, 3, H, W) in [0, 1], any V, input view first; square, of any size -> (B, N)."""
        pixels, frame = self._seen(images, cameras)
        with torch.no_grad():
            logits = self.serializer(pixels, frame.cameras)
            tokens = [self.serializer.tokens(one) for one in logits]
        return frame.back(self.lrm_generator(pixels, frame.cameras, tokens))

    def occupancy(self, images: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """As `forward` -> logits (B, G, G, G) of x, y, z with gradient; our coordinates (B, G) of them."""
        pixels, frame = self._seen(images, cameras)
        return self.serializer(pixels, frame.cameras), self.serializer.fine / frame.scale[:, None]

    def _seen(self, images: Tensor, cameras: Cameras) -> tuple[Tensor, Frame]:
        """Normalised pixels at the networks' size, cameras in their world."""
        side = self.config.size_px
        frame = to_frame(cameras.resized(side, side), self.config.radius)
        return (resized(images.float(), side) - self.mean) / self.std, frame


def resized(images: Tensor, side: int) -> Tensor:
    """(B, V, 3, H, W) -> (B, V, 3, side, side), as the official scripts resize; others stay as they are."""
    if images.shape[-2:] == (side, side):
        return images
    flat = F.interpolate(images.flatten(0, 1), (side, side), mode="bicubic", antialias=True)
    return flat.clamp(0, 1).unflatten(0, images.shape[:2])


def released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """GeoLRM's whole training state -> the networks' own, DINOv2 with the names of transformers 5.

    Left out are the weights of its losses (LPIPS).
    """
    names = {f"attention.attention.{old}.": f"attention.{new}_proj."
             for old, new in (("query", "q"), ("key", "k"), ("value", "v"))}  # fmt: skip
    names["attention.output.dense."] = "attention.o_proj."
    kept = {}
    for key, value in state.items():
        if not key.startswith(("serializer.", "lrm_generator.")):
            continue
        for old, new in names.items():
            key = key.replace(old, new)
        kept[key] = value
    return kept


def build(network: Mapping[str, Any]) -> GeoLRM:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return GeoLRM(Settings.model_validate(network))
