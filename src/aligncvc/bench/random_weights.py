"""Full-size networks with random weights, made quickly: time and memory do not depend on the numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from aligncvc.bench.dry_step import random_weights
from aligncvc.config.sections import Config
from aligncvc.models.generators import MultiViewGenerator, build_generator
from aligncvc.models.pair import load_pretrained
from aligncvc.models.reconstructors import build_reconstructor
from aligncvc.scene.cameras import Cameras, orbit

Precision = Literal["float32", "bf16"]

GIB = 2**30


class QuickInit(TorchDispatchMode):
    """Inside, large CPU tensors are filled with random numbers by repeating one block of them.

    The initialisers of torch and of the networks keep their scales, so outputs are finite and of ordinary
    size; 1.7 billion numbers are copied instead of drawn.
    """

    def __init__(self, block: int = 2**20) -> None:
        """block: numbers that are drawn for each tensor; smaller tensors are filled as usual."""
        super().__init__()
        self.block = block

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default):
            return func(*args, **kwargs)
        target, *numbers = args
        if target.numel() <= self.block or target.device.type != "cpu" or not target.is_contiguous():
            return func(*args, **kwargs)
        block = func(torch.empty(self.block, dtype=target.dtype), *numbers, **kwargs)
        for part in target.detach().view(-1).split(self.block):
            part.copy_(block[: len(part)])
        return target


def random_pair(
    config: Config, device: torch.device, precision: Precision
) -> tuple[MultiViewGenerator, nn.Module]:
    """Generator and reconstructor for sampling, with random weights held in `precision`, on the device."""
    with QuickInit():
        generator, reconstructor = load_pretrained(random_weights(config))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for network in (generator, reconstructor):
        network.requires_grad_(False).to(device=device, dtype=dtype)
    return generator, reconstructor


def computing(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """What a network of `precision` runs in: bfloat16 where torch's autocast allows it, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def meta_pair(config: Config) -> tuple[MultiViewGenerator, nn.Module]:
    """Generator and reconstructor without memory: shapes only."""
    config = random_weights(config)
    with torch.device("meta"), warnings.catch_warnings():
        # a bundled encoder's weights cannot be copied to where there is no memory
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter.*")
        generator = build_generator(config.mvg, config.render.size_px)
        reconstructor = build_reconstructor(config.recon)
    return generator.eval(), reconstructor.eval()


def numbers_of(network: nn.Module) -> int:
    """How many numbers the network's parameters hold, each once."""
    return sum(p.numel() for p in network.parameters())


def rig(config: Config) -> Cameras:
    """The cameras of the configuration's rig round one object, input view first."""
    render = config.render
    return orbit(
        [360.0 * i / render.ring_views for i in render.rig_indices],
        render.elevation_deg,
        distance=render.distance,
        fov_y_deg=render.fov_y_deg,
        size_px=render.size_px,
    )


def input_image(config: Config) -> Tensor:
    """(3, H, W): noise in [0, 1], the same each time."""
    side = config.render.size_px
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
