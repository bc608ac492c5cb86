"""Times of the samplers' parts: each is measured, and the number of calls is the samplers' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from tiny_world import tiny_config

from aligncvc.bench import sampling
from aligncvc.bench.weights import input_image, random_pair, rig
from aligncvc.config.sections import Method
from aligncvc.loop.aligncvc import sample_aligncvc
from aligncvc.loop.cost import Stopwatch
from aligncvc.loop.rollout import timesteps_for
from aligncvc.loop.two_stage import sample_two_stage

CPU = torch.device("cpu")


class Tally(Stopwatch):
    """A stopwatch that counts how often a part is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: Counter[str] = Counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self.entered[part] += not self._paused
        with super().__call__(part):
            yield


@pytest.mark.parametrize("method", [Method(sampler="two_stage", steps=6), Method(steps=3), Method(steps=1)])
def test_calls_are_those_of_the_sampler(method: Method) -> None:
    config = tiny_config()
    generator, reconstructor = random_pair(config, CPU, "float32")
    tally = Tally()
    pair, posed = (generator, reconstructor), (input_image(config), rig(config))
    if method.sampler == "two_stage":
        sample_two_stage(*pair, *posed, method.steps, 1.3, 0, "bench", tally)
    else:
        sample_aligncvc(*pair, *posed, timesteps_for(method.steps, config), 1.3, 0, "bench", tally)
    calls = sampling.part_calls(method)
    calls["encode"] += calls.pop("condition")  # the samplers' watch counts both as encoding
    assert +tally.entered == calls


def test_every_part_is_measured_and_the_faster_precision_chosen() -> None:
    found = sampling.measure_parts(tiny_config(), CPU)
    assert set(found["seconds"]) == set(found["peak_mb"]) == set(sampling.PARTS)
    assert min(found["seconds"].values()) > 0 and min(found["peak_mb"].values()) > 10
    assert found["precision"] == min(found["generator_seconds"], key=found["generator_seconds"].get)
    assert found["network_calls"] == 2  # guidance: conditional and unconditional


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_whole_sampler_is_measured(precision: str) -> None:
    found = sampling.measure_whole(tiny_config(), CPU, Method(steps=2), precision)  # type: ignore[arg-type]
    parts = found["seconds_by_part"]
    assert set(parts) == {"generator", "decode", "reconstruct", "render", "encode"}
    assert found["seconds"] == pytest.approx(sum(parts.values())) and found["network_calls"] == 4


def test_memory_needed_counts_the_weights() -> None:
    config = tiny_config()
    weights = sum(p.numel() for n in random_pair(config, CPU, "float32") for p in n.parameters())
    for precision, size in (("float32", 4), ("bf16", 2)):
        needed = sampling.memory_needed(config, precision)  # type: ignore[arg-type]
        assert needed - sampling.HEADROOM == size * weights


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_parts_on_cuda_are_in_bfloat16() -> None:
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    found = sampling.measure_parts(tiny_config(), torch.device("cuda"))
    assert found["precision"] == "bf16" and min(found["seconds"].values()) > 0
