"""An LGM-style reconstructor: posed views -> one Gaussian for each output pixel.

Facts of the design (github 3DTopia/LGM): an asymmetric U-Net over [ImageNet-normalised rgb, Plucker rays],
residuals scaled by sqrt(1/2), self-attention over all views at the coarse levels. Keys are those of its
checkpoints. Two more forms are told where in sampling the views come from (`Settings.sees`): Ouroboros3D's
(arXiv 2406.03184) and Gen-3Diffusion's (arXiv 2412.06698).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

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
LGM_GROUPS = 32
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _norm(channels: int, config: Settings) -> nn.GroupNorm:
    """None: of a network with LGM's head the 32 groups that LGM has at every width, where they divide it.

    Else at most 32, with two channels or more in each.
    """
    lgms = config.head == "lgm" and channels % LGM_GROUPS == 0
    groups = LGM_GROUPS if lgms else math.gcd(LGM_GROUPS, channels // 2)
    return nn.GroupNorm(config.norm_groups or groups, channels, eps=1e-5)


class TimeEmbedding(nn.Sequential):
    """Timesteps (N,) -> (N, 4 C): a sinusoid of C channels, cosines first, and two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))
        self.channels = channels

    def forward(self, timesteps: Tensor) -> Tensor:
        from diffusers.models.embeddings import get_timestep_embedding  # seconds to load

        waves = get_timestep_embedding(timesteps, self.channels, flip_sin_to_cos=True, downscale_freq_shift=0)
        return super().forward(waves.to(next(self.parameters()).dtype))


def _time_layers(c_out: int, config: Settings) -> nn.Sequential | None:
    """A block's own view of the time embedding, (N, 4 C) -> (N, c_out); None: the network is not told."""
    if config.sees == "views":
        return None
    linear = nn.Linear(4 * config.time_channels, c_out)
    if not config.time_silu:
        return nn.Sequential(nn.Identity(), linear)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.SiLU(), linear)


class ResnetBlock(nn.Module):
    """norm-SiLU-conv twice, with a 1x1 shortcut where the width changes."""

    def __init__(self, c_in: int, c_out: int, config: Settings) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(c_in, config), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = _norm(c_out, config), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.emb_layers = _time_layers(c_out, config)

    def forward(self, x: Tensor, time: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.emb_layers is not None:
            h = h + self.emb_layers(time)[..., None, None]
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

    def block(self, i: int, x: Tensor, views: int, time: Tensor | None) -> Tensor:
        x = self.nets[i](x, time)
        return x if self.attns is None or i >= len(self.attns) else self.attns[i](x, views)


class DownBlock(Stage):
    """Residual blocks of one resolution, then half of it unless it is the last."""

    def __init__(self, widths: list[tuple[int, int]], attention: bool, last: bool, config: Settings) -> None:
        super().__init__(widths, len(widths) if attention else 0, config)
        width = widths[-1][1]
        self.downsample = None if last else nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, views: int, time: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for i in range(len(self.nets)):
            x = self.block(i, x, views, time)
            skips.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(Stage):
    """Residual block, then (attention, residual block)."""

    def __init__(self, channels: int, config: Settings) -> None:
        super().__init__([(channels, channels)] * 2, int(config.mid_attention), config)

    def forward(self, x: Tensor, views: int, time: Tensor | None) -> Tensor:
        return self.block(1, self.block(0, x, views, time), views, time)


class UpBlock(Stage):
    """Residual blocks that take the skips of one resolution, then twice it unless it is the last."""

    def __init__(self, widths: list[tuple[int, int]], attention: bool, last: bool, config: Settings) -> None:
        super().__init__(widths, len(widths) if attention else 0, config)
        width = widths[-1][1]
        self.upsample = None if last else nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, skips: list[Tensor], views: int, time: Tensor | None) -> Tensor:
        """skips: one for each residual block, the last made first used."""
        for i, skip in enumerate(reversed(skips)):
            x = self.block(i, torch.cat([x, skip], 1), views, time)
        if self.upsample is not None:
            x = self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class MultiViewUNet(nn.Module):
    """(B V, 9 or 12, H, W) -> (B V, 14, H', W'); H' = H / 2^(levels down - levels up)."""

    def __init__(self, config: Settings, c_out: int = 14) -> None:
        super().__init__()
        down, up = config.down_channels, config.up_channels
        c_in = 12 if config.sees == "noisy" else 9
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
        self.time_embed = None if config.sees == "views" else TimeEmbedding(config.time_channels)
        self.gradient_checkpointing = False
        """Recompute the blocks' activations in the backward pass: less memory, one more forward pass."""

    def forward(self, x: Tensor, views: int, timesteps: Tensor | None = None) -> Tensor:
        """views: of an object, consecutive in x. timesteps: (B V,), if the network is told."""
        time = None if self.time_embed is None else self.time_embed(timesteps)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, new = self._run(block, x, views, time)
            skips += new
        x = self._run(self.mid_block, x, views, time)
        for block in self.up_blocks:
            assert isinstance(block, UpBlock)
            count = len(block.nets)
            x = self._run(block, x, skips[-count:], views, time)
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
        self.head = (
            LgmHead(config.rot_norm_dim)
            if config.head == "lgm"
            else RayHead(config.colour_px, config.least_opacity)
        )
        self.head.initialise(self.conv)
        for name, values in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @property
    def sees(self) -> Literal["views", "time", "noisy"]:
        return self.config.sees

    @property
    def clamped(self) -> bool:
        return self.config.clamped

    def forward(self, images: Tensor, cameras: Cameras, at: At | None = None) -> Gaussians:
        """images (B, V, 3, H, W), input view first; cameras may be of another size -> (B, V H' W')."""
        batch, views = images.shape[:2]
        images = _resized(images, self.config.size_px)
        cameras = cameras.resized(images.shape[-1], images.shape[-2])
        device = images.device.type
        with torch.autocast(device, enabled=False):  # which would round the frame's matrix products
            frame = to_frame(cameras, self.config)
        seen = cameras if frame is None else frame.cameras
        pictures, rays, timesteps = self._told(images, seen.plucker(), at)
        rows = [(each.flatten(0, 1) - self.mean) / self.std for each in pictures]
        inputs = torch.cat([*rows, rays.flatten(0, 1)], 1).to(self.conv.weight.dtype)
        features = self.conv(self.unet(inputs, rays.shape[1], timesteps)).unflatten(0, (batch, -1))[:, :views]
        # positions and rotations need float32 even where the network runs in bfloat16
        gaussians = self.head(features.float(), images, seen)
        if frame is None:
            return gaussians
        with torch.autocast(device, enabled=False):
            return frame.back(gaussians)

    def _told(
        self, images: Tensor, rays: Tensor, at: At | None
    ) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Pictures (B, V', 3, H, W) beside each other in channels, rays (B, V', 6, H, W), times (B V',).

        A network that sees noisy views sees the clean input image beside them, as a view at timestep 0 that
        stands nowhere: its rays are zero.
        """
        batch, views = images.shape[:2]
        times = images.new_zeros(batch) if at is None else at.timesteps
        if self.sees != "noisy":
            return [images], rays, None if self.sees == "views" else times.repeat_interleave(views)
        noisy = images if at is None or at.noisy is None else _resized(at.noisy, images.shape[-1])
        clean = images[:, :1] if at is None or at.image is None else at.image[:, None]
        clean = _resized(clean, images.shape[-1])
        pictures = [torch.cat([views_of, clean], 1) for views_of in (images, noisy)]
        times = F.pad(times[:, None].expand(-1, views), (0, 1)).flatten()
        return pictures, F.pad(rays, (0, 0) * 3 + (0, 1)), times


def _resized(images: Tensor, side: int | None) -> Tensor:
    """(B, V, 3, H, W) at the network's size, as LGM's own inference resizes (bilinear, no antialiasing)."""
    if side is None or images.shape[-2:] == (side, side):
        return images
    small = F.interpolate(images.flatten(0, 1), (side, side), mode="bilinear", align_corners=False)
    return small.unflatten(0, images.shape[:2])


def build(network: Mapping[str, Any]) -> LGM:
    """The network of these settings, with random weights. Raises ValidationError for wrong ones."""
    return LGM(Settings.model_validate(network))
