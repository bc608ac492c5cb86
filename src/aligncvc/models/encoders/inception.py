"""Inception v3 in the form that FID is defined with (Szegedy et al. 2015, arXiv 1512.00567).

The TensorFlow network of 2015-12-05 differs from later ones: its average pools ignore the padding, and the
last block pools by maximum. Written as a table from these facts; layers bear the names of the published
weight file (ledger id `fid-inception`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.strict import load_strict
from aligncvc.models.specs import CheckpointAccess

FEATURES = 2048
SIZE_PX = 299
_BATCH = 16

# A block is a list of branches, a branch a list of steps, a step one layer (name, channels, kernel height,
# kernel width, stride), a pool, or a list of layers side by side. Outputs are concatenated.
_AVERAGE, _MAXIMUM, _HALVE = "average", "maximum", "halve"


def _a(pooled: int) -> list[Any]:
    return [
        [("branch1x1", 64, 1, 1, 1)],
        [("branch5x5_1", 48, 1, 1, 1), ("branch5x5_2", 64, 5, 5, 1)],
        [("branch3x3dbl_1", 64, 1, 1, 1), ("branch3x3dbl_2", 96, 3, 3, 1), ("branch3x3dbl_3", 96, 3, 3, 1)],
        [_AVERAGE, ("branch_pool", pooled, 1, 1, 1)],
    ]


def _c(width: int) -> list[Any]:
    return [
        [("branch1x1", 192, 1, 1, 1)],
        [("branch7x7_1", width, 1, 1, 1), ("branch7x7_2", width, 1, 7, 1), ("branch7x7_3", 192, 7, 1, 1)],
        [
            ("branch7x7dbl_1", width, 1, 1, 1),
            ("branch7x7dbl_2", width, 7, 1, 1),
            ("branch7x7dbl_3", width, 1, 7, 1),
            ("branch7x7dbl_4", width, 7, 1, 1),
            ("branch7x7dbl_5", 192, 1, 7, 1),
        ],
        [_AVERAGE, ("branch_pool", 192, 1, 1, 1)],
    ]


def _e(pool: str) -> list[Any]:
    return [
        [("branch1x1", 320, 1, 1, 1)],
        [
            ("branch3x3_1", 384, 1, 1, 1),
            [("branch3x3_2a", 384, 1, 3, 1), ("branch3x3_2b", 384, 3, 1, 1)],
        ],
        [
            ("branch3x3dbl_1", 448, 1, 1, 1),
            ("branch3x3dbl_2", 384, 3, 3, 1),
            [("branch3x3dbl_3a", 384, 1, 3, 1), ("branch3x3dbl_3b", 384, 3, 1, 1)],
        ],
        [pool, ("branch_pool", 192, 1, 1, 1)],
    ]


_B = [
    [("branch3x3", 384, 3, 3, 2)],
    [("branch3x3dbl_1", 64, 1, 1, 1), ("branch3x3dbl_2", 96, 3, 3, 1), ("branch3x3dbl_3", 96, 3, 3, 2)],
    [_HALVE],
]
_D = [
    [("branch3x3_1", 192, 1, 1, 1), ("branch3x3_2", 320, 3, 3, 2)],
    [
        ("branch7x7x3_1", 192, 1, 1, 1),
        ("branch7x7x3_2", 192, 1, 7, 1),
        ("branch7x7x3_3", 192, 7, 1, 1),
        ("branch7x7x3_4", 192, 3, 3, 2),
    ],
    [_HALVE],
]
_BLOCKS = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": _B,
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": _D,
    "Mixed_7b": _e(_AVERAGE),
    "Mixed_7c": _e(_MAXIMUM),
}


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU. Stride 1 keeps the size unless `valid`; stride 2 shrinks."""

    def __init__(
        self, inputs: int, outputs: int, height: int, width: int, stride: int = 1, *, valid: bool = False
    ) -> None:
        super().__init__()
        padding = (0, 0) if valid or stride == 2 else (height // 2, width // 2)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """A block of the table. (B, inputs, H, W) -> (B, outputs, H', W')."""

    def __init__(self, inputs: int, branches: list[Any]) -> None:
        super().__init__()
        self._branches = branches
        self.outputs = 0
        for branch in branches:
            channels = inputs
            for step in branch:
                if isinstance(step, str):
                    continue
                layers = step if isinstance(step, list) else [step]
                for name, outputs, height, width, stride in layers:
                    self.add_module(name, ConvNorm(channels, outputs, height, width, stride))
                channels = sum(layer[1] for layer in layers)
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self._branches], 1)

    def _run(self, branch: list[Any], x: Tensor) -> Tensor:
        for step in branch:
            if step == _AVERAGE:
                x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            elif step == _MAXIMUM:
                x = F.max_pool2d(x, 3, 1, 1)
            elif step == _HALVE:
                x = F.max_pool2d(x, 3, 2)
            elif isinstance(step, list):
                x = torch.cat([self.get_submodule(layer[0])(x) for layer in step], 1)
            else:
                x = self.get_submodule(step[0])(x)
        return x


class FidInception(nn.Module):
    """Images to the 2048 pooled features of FID; frozen, always in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, 3, valid=True)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, 3, valid=True)
        channels = 192
        for name, branches in _BLOCKS.items():
            block = Mixed(channels, branches)
            self.add_module(name, block)
            channels = block.outputs
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FidInception:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 2048).

        As pytorch-fid does: resized to 299x299 (bilinear, not antialiased), scaled to [-1, 1].
        """
        if images.shape[-2:] != (SIZE_PX, SIZE_PX):
            images = F.interpolate(images, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images * 2 - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((-2, -1))

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) in [0, 1] -> (..., 2048) float64, in batches."""
        flat = images.float().flatten(0, -4)
        features = torch.cat([self(part) for part in flat.split(_BATCH)])
        return features.double().view(*images.shape[:-3], FEATURES)


def load_fid_inception(access: CheckpointAccess = CheckpointAccess()) -> FidInception:
    """The network with its published weights (ledger id `fid-inception`).

    Raises UserError if the file is missing or holds anything else.
    """
    state = torch.load(resolve("fid-inception", access), map_location="cpu", weights_only=True)
    model = FidInception()
    load_strict(model, convert_state(state, model))
    return model


def convert_state(state: Mapping[str, Tensor], model: FidInception) -> dict[str, Tensor]:
    """The published file without its classifier and with this model's counters of training batches."""
    counter = ".num_batches_tracked"  # of no use in evaluation; files of old PyTorch releases have none
    kept = {key: value for key, value in state.items() if not key.startswith("fc.")}
    return {key: value for key, value in kept.items() if not key.endswith(counter)} | {
        key: value for key, value in model.state_dict().items() if key.endswith(counter)
    }
