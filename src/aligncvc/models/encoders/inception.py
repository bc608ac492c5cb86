"""Inception v3 in the form that FID is defined with (Szegedy et al. 2015, arXiv 1512.00567).

The TensorFlow network of 2015-12-05 has average pools that ignore the padding, and ends with a maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.files import parse_yaml
from aligncvc.models.encoders.frozen import Frozen
from aligncvc.models.ledger.weights import load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

FEATURES = 2048
SIZE_PX = 299
_BATCH = 16
_TABLE = parse_yaml(Path(__file__).with_name("inception.yaml").read_text(encoding="utf-8"))


def _step(written: Any, value: str) -> Any:
    """A pool's name, a layer (name, channels, kernel's height, width[, stride]), or layers side by side."""
    if isinstance(written, list):
        return [_step(layer, value) for layer in written]
    name, *numbers = written.replace("$", value).split()
    return (name, *map(int, numbers)) if numbers else name


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

    def __init__(self, inputs: int, form: str, value: str) -> None:
        super().__init__()
        self._branches = [[_step(step, value) for step in branch] for branch in _TABLE["forms"][form]]
        self.outputs = 0
        for branch in self._branches:
            channels = inputs
            for step in branch:
                if isinstance(step, str):
                    continue
                layers = step if isinstance(step, list) else [step]
                for name, *numbers in layers:
                    self.add_module(name, ConvNorm(channels, *numbers))
                channels = sum(layer[1] for layer in layers)
            self.outputs += channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self._branches], 1)

    def _run(self, branch: list[Any], x: Tensor) -> Tensor:
        for step in branch:
            if step == "average":
                x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            elif step == "maximum":
                x = F.max_pool2d(x, 3, 1, 1)
            elif step == "halve":
                x = F.max_pool2d(x, 3, 2)
            elif isinstance(step, list):
                x = torch.cat([self.get_submodule(layer[0])(x) for layer in step], 1)
            else:
                x = self.get_submodule(step[0])(x)
        return x


class FidInception(Frozen):
    """InceptionV3 as FID uses it, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, 3, valid=True)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, 3, valid=True)
        channels = 192
        for name, written in _TABLE["blocks"].items():
            block = Mixed(channels, *written.split())
            self.add_module(name, block)
            channels = block.outputs
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 2048); as in pytorch-fid at 299 x 299 (bilinear, not antialiased)."""
        if images.shape[-2:] != (SIZE_PX, SIZE_PX):
            images = F.interpolate(images, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images * 2 - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in _TABLE["blocks"]:
            x = self.get_submodule(name)(x)
        return x.mean((-2, -1))

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) in [0, 1] -> (..., 2048) float64, in batches."""
        flat = images.float().flatten(0, -4)
        features = torch.cat([self(part) for part in flat.split(_BATCH)])
        return features.double().view(*images.shape[:-3], FEATURES)


def load_fid_inception(access: CheckpointAccess = CheckpointAccess()) -> FidInception:
    """The network with its published weights, strictly. Raises UserError if they cannot be had."""
    model = FidInception()
    load_strict(model, convert_state(resolved_state("fid-inception", access), model))
    return model


def convert_state(state: Mapping[str, Tensor], model: FidInception) -> dict[str, Tensor]:
    """The published file without its classifier and with this model's counters of training batches."""
    counter = ".num_batches_tracked"  # of no use in evaluation; files of old PyTorch releases have none
    kept = {k: v for k, v in state.items() if not k.startswith("fc.") and not k.endswith(counter)}
    return kept | {key: value for key, value in model.state_dict().items() if key.endswith(counter)}
