"""EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946): the frozen multi-level image encoder of the demo.

"Lite" as in the TensorFlow TPU models: ReLU6, no squeeze-and-excitation, stem and head not scaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.models.encoders.frozen import Level, LevelEncoder
from aligncvc.models.ledger.weights import load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

Stages = tuple[tuple[int, int, int, int, int], ...]
"""(expansion, output channels, kernel, stride of the first block, number of blocks) one after the other."""

LITE0: Stages = (
    (1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3), (6, 192, 5, 2, 4), (6, 320, 3, 1, 1),
)  # fmt: skip
_TAPPED_STAGES = (0, 1, 2, 4, 6)
FEATURE_CHANNELS = (16, 24, 40, 112, 320)
EMBED_CHANNELS = 1280

# Layers in the published file -> here, in the blocks and outside.
_IN_BLOCKS = {
    "_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1",
    "_project_conv": "project.0", "_bn2": "project.1",
}  # fmt: skip
_OUTSIDE = {
    "_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1", "_fc": "classifier",
}  # fmt: skip


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: output = ceil(input / stride), odd pixel at the end."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[:-3:-1]]
        x = F.pad(x, [edge for pad in pads for edge in (pad // 2, pad - pad // 2)])
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=1e-3))


class InvertedResidual(nn.Module):
    """Expand (1x1), depthwise, project (1x1, linear); the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        self.expand = _conv_norm(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = _conv_norm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _conv_norm(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.expand is None else F.relu6(self.expand(x))
        h = self.project(F.relu6(self.depthwise(h)))
        return x + h if self.skip else h


class Lite0(LevelEncoder):
    """EfficientNet-Lite0, for images of any size. It knows textures at photograph scale: see `input_px`."""

    plan = LITE0
    levels = tuple(Level(channels) for channels in FEATURE_CHANNELS)
    input_px = 128

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_norm(3, 32, 3, 2)
        self.stages = nn.ModuleList()
        channels = 32
        for expansion, outputs, kernel, stride, count in self.plan:
            stage = nn.Sequential()
            for i in range(count):
                stage.append(InvertedResidual(channels, outputs, expansion, kernel, stride if i == 0 else 1))
                channels = outputs
            self.stages.append(stage)
        self.head = _conv_norm(channels, EMBED_CHANNELS, 1)
        self.classifier = nn.Linear(EMBED_CHANNELS, 1000)
        self.freeze()

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> five maps: 16 at H/2, 24 at H/4, 40 at H/8, 112 at H/16, 320 at H/32."""
        x = F.relu6(self.stem((images - 0.5) / 0.5))
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in _TAPPED_STAGES:
                maps.append(x)
        return maps

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 1280) pooled features of the head."""
        return F.relu6(self.head(self.features(images)[-1])).mean((-2, -1))

    def token(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 1, 1280), the same at unit RMS for cross-attention."""
        tokens = self.embed(images)[:, None]
        # pooled ReLU6 features are small and positive; unit RMS suits a linear projection
        return tokens / tokens.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 1000) ImageNet logits (trained at 224 px)."""
        return self.classifier(self.embed(images))


def load_lite0(access: CheckpointAccess = CheckpointAccess()) -> Lite0:
    """EfficientNet-Lite0 with its published weights, strictly. Raises UserError if they cannot be had."""
    model = Lite0()
    load_strict(model, convert_state(resolved_state("lite0", access)))
    return model


def convert_state(state: Mapping[str, Tensor], plan: Stages = LITE0) -> dict[str, Tensor]:
    """Rename the published file's keys (`_blocks.3._bn1.weight`) to this module's (`stages.2.0...`)."""
    places = [f"stages.{s}.{i}." for s, stage in enumerate(plan) for i in range(stage[-1])]

    def rename(key: str) -> str:
        *block, layer, leaf = key.split(".")
        place, parts = (places[int(block[1])], _IN_BLOCKS) if block else ("", _OUTSIDE)
        return f"{place}{parts[layer]}.{leaf}"

    return {rename(key): value for key, value in state.items()}
