"""The networks that ledger entries are the weights of, built on the meta device: sizes without memory.

A name here is what `network:` in config/checkpoints.yaml says. Nothing is allocated, read or downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from aligncvc.config.networks import Mvg, Recon
from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.dists import Dists
from aligncvc.models.encoders.inception import FidInception
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.encoders.lpips import architecture as lpips_architecture
from aligncvc.models.generators import build_generator
from aligncvc.models.reconstructors import build_reconstructor

CLIP_L14 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
"""ViT-L/14's difference from transformers' CLIPVisionConfig (ViT-B/32)."""


@dataclass(frozen=True)
class Part:
    """One module of a network. parameters: numbers that training can change; keys: of its state dict."""

    name: str
    parameters: int
    keys: int

    def __str__(self) -> str:
        many = self.parameters >= 100_000
        count = f"{self.parameters / 1e6:.2f} M" if many else f"{self.parameters:,}"
        return f"{self.name}: {count} parameters in {self.keys} keys"


def _recon(kind: str | None = None) -> dict[str, nn.Module]:
    model = build_reconstructor(Recon(kind=kind) if kind else Recon())
    return {name: child for name, child in model.named_children() if len(child.state_dict())}


def _mvg(part: str, kind: str | None = None, size_px: int = 256) -> dict[str, nn.Module]:
    generator = build_generator(Mvg(kind=kind) if kind else Mvg(), size_px)
    return {part: getattr(generator, part)}


NETWORKS: dict[str, Callable[[], dict[str, nn.Module]]] = {
    "demo-unet": lambda: _mvg("unet", size_px=64),
    "demo-vae": lambda: _mvg("vae", size_px=64),
    "demo-recon": lambda: _recon(),
    "wonder3d-v1": lambda: _mvg("unet", "wonder3d-v1"),
    "wonder3d-plus": lambda: _mvg("unet", "wonder3d-plus"),
    "sd-vae": lambda: _mvg("vae", "wonder3d-v1"),
    "lgm-big": lambda: _recon("lgm-big"),
    "lgm-official-small": lambda: _recon("lgm-official-small"),
    "clip-vit-l14": lambda: {"image tower": ClipImageEncoder(**CLIP_L14).tower},
    "clip-vit-b32": lambda: {"image tower": ClipImageEncoder().tower},
    "lite0": lambda: {"network": Lite0()},
    "lpips-alex": lambda: lpips_architecture("alex"),
    "lpips-vgg": lambda: lpips_architecture("vgg"),
    "dists": lambda: {"network": Dists()},
    "fid-inception": lambda: {"network": FidInception()},
}
"""Network name -> its modules by part, the largest first."""


def outline(name: str) -> list[Part]:
    """Parameters and keys of a network's parts. Raises UserError for a name that is not in NETWORKS."""
    if name not in NETWORKS:
        raise UserError(
            f"the ledger names a network {name!r} that is not built here; known: {sorted(NETWORKS)}"
        )
    with torch.device("meta"):
        parts = NETWORKS[name]()
    return [
        Part(part, sum(p.numel() for p in module.parameters()), len(module.state_dict()))
        for part, module in parts.items()
    ]
