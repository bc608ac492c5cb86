"""Measuring: medians of repeats taken in turns, ratios, memory, and work in a process of its own."""

from __future__ import annotations

import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import torch
from torch import nn

from aligncvc.errors import UserError
from aligncvc.hardware import PeakMemory
from aligncvc.loop.cost import Stopwatch

T = TypeVar("T")

Row = dict[str, Any]
"""A line of results/bench.json, before the hardware is known."""

Clock = Callable[[], float]


def cpu_seconds() -> float:
    """Seconds that this process, its threads and its finished children computed, whatever else is running."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": cpu_seconds}


def row(name: str, value: float, unit: str, reference: float | None = None, note: str | None = None) -> Row:
    """One line; ratio = how many times less than the reference. note: what the number holds for."""
    ratio = None if reference is None else round(reference / value, 2)
    given = None if reference is None else float(f"{reference:.6g}")
    made = {"name": name, "value": float(f"{value:.6g}"), "unit": unit, "reference": given, "ratio": ratio}
    return made if note is None else {**made, "note": note}


def timed(run: Callable[[], object], clock: Clock = time.perf_counter) -> Callable[[], float]:
    """`run`, as a function that returns what it took."""

    def seconds() -> float:
        start = clock()
        run()
        return clock() - start

    return seconds


def medians(runs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The median of what each run returns. They take turns; a first round warms up and does not count."""
    rounds = [{name: run() for name, run in runs.items()} for _ in range(1 + repeats)][1:]
    return {name: statistics.median(found[name] for found in rounds) for name in runs}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch uses so many threads, so that numbers of machines with more cores compare."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Meter(Stopwatch):
    """A stopwatch that keeps the seconds of every visit of a part, and the part's peak memory in MB."""

    def __init__(self, device: torch.device | str) -> None:
        super().__init__(device)
        self.visits: dict[str, list[float]] = defaultdict(list)
        self.peak_mb: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        memory, before = PeakMemory(self.device), self.seconds[part]
        with super().__call__(part):
            yield
        self.visits[part].append(self.seconds[part] - before)
        self.peak_mb[part].append(memory.read())


def size_mb(networks: Iterable[nn.Module | None]) -> float:
    """Parameters and buffers of the networks that are there in MB (2^20 bytes), each once."""
    there = [n for n in networks if n is not None]
    tensors = {id(t): t for n in there for t in [*n.parameters(), *n.buffers()]}
    return sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20


def measured_apart(work: Callable[..., T], *arguments: object) -> T:
    """What `work` returns in a process of its own: no measurement finds memory that another has left."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise UserError("the process of a measurement was ended, perhaps since memory ran out") from None
