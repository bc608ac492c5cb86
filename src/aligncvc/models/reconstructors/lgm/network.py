"""An LGM-style reconstructor: posed views -> one Gaussian for each output pixel.

Facts of the design (github 3DTopia/LGM): an asymmetric U-Net over [ImageNet-normalised rgb, Plucker
rays], residuals scaled by sqrt(1/2), self-attention over the tokens of all views at the coarse
levels, and a 1x1 convolution to 14 channels a Gaussian. The key names are those of its checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aligncvc.models.reconstructors.lgm.frames import to_frame
from aligncvc.models.reconstructors.lgm.heads import HEADS
from aligncvc.models.reconstructors.lgm.settings import Settings
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians

RESIDUAL_SCALE = 0.5**0.5
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _norm(channels: int, groups: int | None) -> nn.GroupNorm:
    """groups: LGM has 32 at every width; None: at most 32, with two channels or more in each."""
    return nn.GroupNorm(groups or math.gcd(32, channels // 2), channels, eps=1e-5)


class ResnetBlock(nn.Module):
    """norm-SiLU-conv twice, with a 1x1 shortcut where the width changes."""

    def __init__(self, c_in: int, c_out: int, groups: int | None = None) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(c_in, groups), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(c_out, groups), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (h + self.shortcut(x)) * RESIDUAL_SCALE


class SelfAttention(nn.Module):
    """Multi-head self-attention without a bias on q, k, v."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MultiViewAttention(nn.Module):
    """Attention over all pixels of all views of an object."""

    def __init__(self, channels: int, heads: int, groups: int | None = None) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.attn = SelfAttention(channels, heads)

    def forward(self, x: Tensor, views: int) -> Tensor:
        """(B V, C, H, W) -> the same."""
        rows, channels, height, width = x.shape
        tokens = (
            self.norm(x).unflatten(0, (-1, views)).permute(0, 1, 3, 4, 2).reshape(rows // views, -1, channels)
        )
        out = self.attn(tokens).reshape(rows, height, width, channels).permute(0, 3, 1, 2)
        return (x + out) * RESIDUAL_SCALE


class Stage(nn.Module):
    """A run of residual blocks, each followed by attention where asked."""

    def __init__(
        self, widths: list[tuple[int, int]], attention: bool, heads: int, groups: int | None
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in widths)
        self.attns = (
            nn.ModuleList(MultiViewAttention(b, heads, groups) for _, b in widths) if attention else None
        )

    def block(self, i: int, x: Tensor, views: int) -> Tensor:
        x = self.nets[i](x)
        return x if self.attns is None else self.attns[i](x, views)


class DownBlock(Stage):
    def __init__(
        self,
        c_in: int,
        c_out: int,
        layers: int,
        attention: bool,
        heads: int,
        groups: int | None,
        downsample: bool,
    ) -> None:
        widths = [(c_in if i == 0 else c_out, c_out) for i in range(layers)]
        super().__init__(widths, attention, heads, groups)
        self.downsample = nn.Conv2d(c_out, c_out, 3, stride=2, padding=1) if downsample else None

    def forward(self, x: Tensor, views: int) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for i in range(len(self.nets)):
            x = self.block(i, x, views)
            skips.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """Residual block, then (attention, residual block)."""

    def __init__(self, channels: int, attention: bool, heads: int, groups: int | None) -> None:
        super().__init__()
        self.nets = nn.ModuleList(ResnetBlock(channels, channels, groups) for _ in range(2))
        self.attns = nn.ModuleList([MultiViewAttention(channels, heads, groups)]) if attention else None

    def forward(self, x: Tensor, views: int) -> Tensor:
        x = self.nets[0](x)
        if self.attns is not None:
            x = self.attns[0](x, views)
        return self.nets[1](x)


class UpBlock(Stage):
    def __init__(
        self,
        c_in: int,
        skips: list[int],
        c_out: int,
        attention: bool,
        heads: int,
        groups: int | None,
        upsample: bool,
    ) -> None:
        widths = [((c_in if i == 0 else c_out) + skip, c_out) for i, skip in enumerate(skips)]
        super().__init__(widths, attention, heads, groups)
        self.upsample = nn.Conv2d(c_out, c_out, 3, padding=1) if upsample else None

    def forward(self, x: Tensor, skips: list[Tensor], views: int) -> Tensor:
        """skips: one for each residual block, the last made first used."""
        for i, skip in enumerate(reversed(skips)):
            x = self.block(i, torch.cat([x, skip], 1), views)
        if self.upsample is not None:
            x = self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class MultiViewUNet(nn.Module):
    """(B V, 9, H, W) -> (B V, 14, H', W'); H' = H / 2^(levels down - levels up)."""

    def __init__(self, config: Settings, c_in: int = 9, c_out: int = 14) -> None:
        super().__init__()
        down, up = config.down_channels, config.up_channels
        self.conv_in = nn.Conv2d(c_in, down[0], 3, padding=1)
        widths = [down[0]]
        blocks: list[nn.Module] = []
        for i, channels in enumerate(down):
            last = i == len(down) - 1
            blocks.append(
                DownBlock(
                    down[max(i - 1, 0)],
                    channels,
                    config.layers,
                    config.down_attention[i],
                    config.heads,
                    config.norm_groups,
                    downsample=not last,
                )
            )
            widths += [channels] * (config.layers + (not last))
        self.down_blocks = nn.ModuleList(blocks)
        self.mid_block = MidBlock(down[-1], config.mid_attention, config.heads, config.norm_groups)
        blocks, current = [], down[-1]
        for i, channels in enumerate(up):
            skips = [widths.pop() for _ in range(config.layers + 1)]
            blocks.append(
                UpBlock(
                    current,
                    skips,
                    channels,
                    config.up_attention[i],
                    config.heads,
                    config.norm_groups,
                    upsample=i != len(up) - 1,
                )
            )
            current = channels
        self.up_blocks = nn.ModuleList(blocks)
        self.norm_out = _norm(current, config.norm_groups)
        self.conv_out = nn.Conv2d(current, c_out, 3, padding=1)
        self.gradient_checkpointing = False
        """Recompute the blocks' activations in the backward pass: less memory, one more forward pass."""

    def forward(self, x: Tensor, views: int) -> Tensor:
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, new = self._run(block, x, views)
            skips += new
        x = self._run(self.mid_block, x, views)
        for block in self.up_blocks:
            assert isinstance(block, UpBlock)
            count = len(block.nets)
            x = self._run(block, x, skips[-count:], views)
            del skips[-count:]
        return self.conv_out(F.silu(self.norm_out(x)))

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


class LGM(nn.Module):
    """V posed views -> V H' W' Gaussians."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config
        self.unet = MultiViewUNet(config)
        self.conv = nn.Conv2d(14, 14, 1)
        self.head = HEADS[config.head](config)
        self.head.initialise(self.conv)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, cameras: Cameras) -> Gaussians:
        """images (B, V, 3, H, W) in [0, 1] on white; cameras (B, V, 4, 4), input view first.

        The images may be of another size than the cameras (LGM sees 256 pixels and is drawn at 512).
        Returns Gaussians (B, V H' W') in the world of `cameras`.
        """
        batch, views = images.shape[:2]
        images = _resized(images, self.config.size_px)
        cameras = cameras.resized(images.shape[-1], images.shape[-2])
        device = images.device.type
        with torch.autocast(device, enabled=False):  # which would round the frame's matrix products
            frame = to_frame(cameras, self.config)
        seen = cameras if frame is None else frame.cameras
        rgb = (images.flatten(0, 1) - self.mean) / self.std
        inputs = torch.cat([rgb, seen.plucker().flatten(0, 1)], 1)
        features = self.conv(self.unet(inputs.to(self.conv.weight.dtype), views))
        # positions and rotations need float32 even where the network runs in bfloat16
        gaussians = self.head(features.float().unflatten(0, (batch, views)), images, seen)
        if frame is None:
            return gaussians
        with torch.autocast(device, enabled=False):
            return frame.back(gaussians)


def _resized(images: Tensor, side: int | None) -> Tensor:
    """(B, V, 3, H, W) at the network's size, as LGM's own inference resizes (bilinear, no antialiasing)."""
    if side is None or images.shape[-2:] == (side, side):
        return images
    small = F.interpolate(images.flatten(0, 1), (side, side), mode="bilinear", align_corners=False)
    return small.unflatten(0, images.shape[:2])


def build(network: Mapping[str, Any]) -> LGM:
    """The reconstructor with random weights. network: all settings."""
    return LGM(Settings.model_validate(network))
