"""What a sampler costs: seconds by part, CPU seconds, calls of the denoiser.

Peak memory is in aligncvc.hardware.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Stopwatch:
    """Seconds by part, and CPU seconds; nothing counts inside `paused()` (figures, not results).

    CPU seconds are what this process's threads computed, whatever others take of the machine.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu_seconds = 0.0
        self.device = torch.device(device)
        self._paused = False

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started, computed = self._now(), time.process_time()
        yield
        if not self._paused:
            self.seconds[part] += self._now() - started
            self.cpu_seconds += time.process_time() - computed

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # kernels are asynchronous: wait for them
        return time.perf_counter()


@contextmanager
def counted_calls(denoiser: nn.Module, rows: int) -> Iterator[list[int]]:
    """Count the denoiser's evaluations, one for each `rows` of its first argument, in a list of one."""
    calls = [0]

    def count(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls[0] += arguments[0].shape[0] // rows

    handle = denoiser.register_forward_pre_hook(count)
    try:
        yield calls
    finally:
        handle.remove()
