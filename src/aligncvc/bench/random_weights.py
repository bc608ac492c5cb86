"""Full-size networks with random weights, made quickly: time and memory do not depend on the numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from aligncvc.models.pair import PairOfModels, build_generator, build_reconstructor, load_pretrained
from aligncvc.models.specs import PairSpec

Precision = Literal["float32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}


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


def random_pair(spec: PairSpec, device: torch.device, precision: Precision) -> PairOfModels:
    """A pair for sampling, with random weights held in `precision`, on the device."""
    with QuickInit():
        pair = load_pretrained(spec.without_weights())
    for network in (pair.generator, pair.reconstructor):
        network.to(device=device, dtype=DTYPES[precision])
    return pair


def computing(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """What a network of `precision` runs in: bfloat16 where torch's autocast allows it, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def meta_pair(spec: PairSpec) -> PairOfModels:
    """A pair without memory: shapes only."""
    with torch.device("meta"), warnings.catch_warnings():
        # a bundled encoder's weights cannot be copied to where there is no memory
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter.*")
        generator = build_generator(spec.generator, spec.renderings_px)
        reconstructor = build_reconstructor(spec.reconstructor)
    return PairOfModels(spec, generator.eval(), reconstructor.eval())


def numbers_of(network: nn.Module) -> int:
    """How many numbers the network's parameters hold, each once."""
    return sum(p.numel() for p in network.parameters())
