"""DISTS: deep image structure and texture similarity (Ding et al. 2020, arXiv 2004.07728).

VGG16 (the ledger's `lpips-vgg-trunk`) with L2 pools; means (texture) and covariances (structure) of each
channel are compared over whole maps, weighted by the authors' `dists-weights`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.models.encoders.frozen import IMAGENET, Frozen
from aligncvc.models.encoders.lpips import VGG_STAGES, fill_trunk, vgg_stage
from aligncvc.models.ledger.weights import load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

CHANNELS = (3, *(width for width, _ in VGG_STAGES))
"""Channels of what is compared: the image itself, then the last ReLU of each stage."""
_STABILITY = 1e-6


class Dists(Frozen):
    """The distance of two (B, 3, H, W) batches in [0, 1], (B,) float64: 0 for equal images."""

    alpha: Tensor
    beta: Tensor
    pool: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*vgg_stage(inputs, width, count))
            for inputs, (width, count) in zip(CHANNELS, VGG_STAGES, strict=False)
        )
        for name in ("alpha", "beta"):
            self.register_buffer(name, torch.full((1, sum(CHANNELS), 1, 1), 0.1))
        window = torch.tensor([0.5, 1.0, 0.5])  # a Hann window of 5 without its zero ends
        self.register_buffer("pool", torch.outer(window, window) / 4, persistent=False)
        self.keep_colours(IMAGENET)
        self.freeze()

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        both = torch.cat([images, target])
        x = ((both - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        total = (self.alpha.double() + self.beta.double()).sum()
        weights = zip(self.alpha.split(CHANNELS, 1), self.beta.split(CHANNELS, 1), strict=True)
        similarity = _compare(both, *next(weights))
        for i, (stage, (alpha, beta)) in enumerate(zip(self.stages, weights, strict=True)):
            x = stage(x if i == 0 else self._pool(x))
            similarity = similarity + _compare(x, alpha, beta)
        return 1 - similarity / total

    def _pool(self, x: Tensor) -> Tensor:
        """Root of the Hann-weighted mean square, stride 2."""
        kernel = self.pool.expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def _compare(maps: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Maps of B images, then of their B partners, (2B, C, h, w) -> weighted similarities summed, (B,)."""
    mean = maps.mean((-2, -1), keepdim=True)
    centred = maps - mean
    variance_x, variance_y = centred.square().mean((-2, -1)).double().chunk(2)
    x, y = centred.chunk(2)
    covariance = (x * y).mean((-2, -1)).double()
    mean_x, mean_y = mean.flatten(1).double().chunk(2)
    texture = (2 * mean_x * mean_y + _STABILITY) / (mean_x**2 + mean_y**2 + _STABILITY)
    structure = (2 * covariance + _STABILITY) / (variance_x + variance_y + _STABILITY)
    return (alpha.flatten().double() * texture + beta.flatten().double() * structure).sum(1)


def load_dists(access: CheckpointAccess = CheckpointAccess()) -> Dists:
    """DISTS with its published weights, strictly. Raises UserError if they cannot be had."""
    state = resolved_state("dists-weights", access)
    model = Dists()
    fill_trunk(model.stages, "vgg", access)
    load_strict(model, {f"stages.{key}": value for key, value in model.stages.state_dict().items()} | state)
    return model
