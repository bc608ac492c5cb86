"""Named random streams: what is drawn depends on the names, never on order, batch or sharding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


def stream_seed(root_seed: int, *names: object) -> int:
    """A 63-bit seed from the root seed and the stream's names (object, view, step, ...)."""
    text = "\x1f".join([str(root_seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_stream(root_seed: int, *names: object) -> torch.Generator:
    """A CPU generator for the named stream (CPU, so that every device sees the same numbers)."""
    return torch.Generator("cpu").manual_seed(stream_seed(root_seed, *names))


def numpy_stream(root_seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for the named stream."""
    return np.random.default_rng(stream_seed(root_seed, *names))


def seeded(build: Callable[[], T], root_seed: int, *names: object) -> T:
    """Call `build` with torch's global generator set from a named stream, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(root_seed, *names))
        return build()


def normal(shape: tuple[int, ...], root_seed: int, *names: object) -> Tensor:
    """Standard normal numbers of the named stream, float32 on CPU."""
    return torch.randn(shape, generator=torch_stream(root_seed, *names))
