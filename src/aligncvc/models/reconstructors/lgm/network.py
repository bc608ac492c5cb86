"""An LGM-style reconstructor: posed views -> one Gaussian for each output pixel.

Facts of the design (github 3DTopia/LGM): an asymmetric U-Net over [ImageNet-normalised rgb, Plucker rays],
residuals scaled by sqrt(1/2), self-attention over all views at the coarse levels. Keys are those of its
checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aligncvc.models.reconstructors.base import At
from aligncvc.models.reconstructors.lgm.frames import to_frame
from aligncvc.models.reconstructors.lgm.heads import LgmHead, RayHead
from aligncvc.models.reconstructors.lgm.settings import Settings
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians

RESIDUAL_SCALE = 0.5**0.5
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _norm(channels: int, config: Settings) -> nn.GroupNorm:
    """LGM has 32 groups at every width; None: at most 32, with two channels or more in each."""
    return nn.GroupNorm(config.norm_groups or math.gcd(32, channels // 2), channels, eps=1e-5)


class ResnetBlock(nn.Module):
    """norm-SiLU-conv twice, with a 1x1 shortcut where the width changes."""

    def __init__(self, c_in: int, c_out: int, config: Settings) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(c_in, config), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(c_out, config), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (h + self.shortcut(x)) * RESIDUAL_SCALE


class SelfAttention(nn.Module):
    """Multi-head self-attention without a bias on q, k, v. (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MultiViewAttention(nn.Module):
    """Attention over all pixels of all views of an object. (B V, C, H, W) -> the same."""

    def __init__(self, channels: int, config: Settings) -> None:
        super().__init__()
        self.norm = _norm(channels, config)
        self.attn = SelfAttention(channels, config.heads)

    def forward(self, x: Tensor, views: int) -> Tensor:
        rows, channels, height, width = x.shape
        pixels = self.norm(x).unflatten(0, (-1, views)).permute(0, 1, 3, 4, 2)
        out = self.attn(pixels.reshape(rows // views, -1, channels))
        return (x + out.reshape(rows, height, width, channels).permute(0, 3, 1, 2)) * RESIDUAL_SCALE


class Stage(nn.Module):
    """A run of residual blocks, some of them followed by attention."""

    def __init__(self, widths: list[tuple[int, int]], attentions: int, config: Settings) -> None:
        """widths: in and out of each block. attentions: how many of the blocks have one, the first ones."""
        super().__init__()
        self.nets = nn.ModuleList(ResnetBlock(a, b, config) for a, b in widths)
        attended = widths[:attentions]
        self.attns = nn.ModuleList(MultiViewAttention(b, config) for _, b in attended) if attended else None

    def block(self, i: int, x: Tensor, views: int) -> Tensor:
        x = self.nets[i](x)
        return x if self.attns is None or i >= len(self.attns) else self.attns[i](x, views)


class DownBlock(Stage):
    def __init__(self, widths: list[tuple[int, int]], attention: bool, last: bool, config: Settings) -> None:
        super().__init__(widths, len(widths) if attention else 0, config)
        width = widths[-1][1]
        self.downsample = None if last else nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, views: int) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for i in range(len(self.nets)):
            x = self.block(i, x, views)
            skips.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(Stage):
    """Residual block, then (attention, residual block)."""

    def __init__(self, channels: int, config: Settings) -> None:
        super().__init__([(channels, channels)] * 2, int(config.mid_attention), config)

    def forward(self, x: Tensor, views: int) -> Tensor:
        return self.block(1, self.block(0, x, views), views)


class UpBlock(Stage):
    def __init__(self, widths: list[tuple[int, int]], attention: bool, last: bool, config: Settings) -> None:
        super().__init__(widths, len(widths) if attention else 0, config)
        width = widths[-1][1]
        self.upsample = None if last else nn.Conv2d(width, width, 3, padding=1)

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
        current, skips = down[0], [down[0]]
        self.down_blocks = nn.ModuleList()
        for i, (width, attention) in enumerate(zip(down, config.down_attention, strict=True)):
            widths = [(current if n == 0 else width, width) for n in range(config.layers)]
            last = i == len(down) - 1
            self.down_blocks.append(DownBlock(widths, attention, last, config))
            skips += [width] * (config.layers + (not last))
            current = width
        self.mid_block = MidBlock(current, config)
        self.up_blocks = nn.ModuleList()
        for i, (width, attention) in enumerate(zip(up, config.up_attention, strict=True)):
            count = config.layers + 1
            widths = [((current if n == 0 else width) + skips.pop(), width) for n in range(count)]
            self.up_blocks.append(UpBlock(widths, attention, i == len(up) - 1, config))
            current = width
        self.norm_out = _norm(current, config)
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
        self.head = LgmHead(config.rot_norm_dim) if config.head == "lgm" else RayHead()
        self.head.initialise(self.conv)
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, cameras: Cameras, at: At | None = None) -> Gaussians:
        """images (B, V, 3, H, W), input view first; cameras may be of another size -> (B, V H' W')."""
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
    return LGM(Settings.model_validate(network))
