"""Times of the samplers' parts: each is measured, and the number of calls is the samplers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aligncvc.bench import networks as sampling
from aligncvc.bench.measure import Meter
from aligncvc.bench.networks import sampling_jobs
from aligncvc.config.plan import Plan, even_timesteps

CPU = torch.device("cpu")


@pytest.mark.parametrize(("feedback", "steps"), [("two_stage", 6), ("aligncvc", 3), ("aligncvc", 1)])
def test_calls_are_those_of_the_sampler(
    plan: Plan, feedback: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meters = []

    def meter(device: Any) -> Meter:
        meters.append(Meter(device))
        return meters[-1]

    monkeypatch.setattr("aligncvc.sample.sets.Stopwatch", meter)
    listed = even_timesteps(steps) if feedback == "aligncvc" else None
    changes = {"feedback": feedback, "steps": steps, "timesteps": listed}
    job = sampling_jobs(plan)["4"].model_copy(update=changes)
    found, calls = sampling.measure_whole(job, CPU, "float32"), sampling.part_calls(feedback, steps)
    assert found["network_calls"] == 2 * calls.pop("generator")  # whose watch has the schedule's steps, too
    calls["encode"] += calls.pop("condition")  # the samplers' watch counts both as encoding
    visited = {part: sum(s > 0 for s in meters[-1].visits[part]) for part in calls}
    assert visited == calls


def test_every_part_is_measured_and_the_faster_precision_chosen(plan: Plan) -> None:
    found = sampling.measure_parts(sampling_jobs(plan)["4"], CPU)
    assert set(found["seconds"]) == set(found["peak_mb"]) == set(sampling.PARTS)
    assert min(found["seconds"].values()) > 0 and min(found["peak_mb"].values()) > 10
    assert found["precision"] == min(found["generator_seconds"], key=found["generator_seconds"].get)
    assert found["network_calls"] == 2  # guidance: conditional and unconditional


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_whole_sampler_is_measured(plan: Plan, precision: sampling.Precision) -> None:
    two = {"steps": 2, "timesteps": [999, 599]}
    found = sampling.measure_whole(sampling_jobs(plan)["4"].model_copy(update=two), CPU, precision)
    parts = found["seconds_by_part"]
    assert set(parts) == {"generator", "decode", "reconstruct", "render", "encode"}
    assert found["seconds"] == pytest.approx(sum(parts.values())) and found["network_calls"] == 4


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_pair_is_held_in_its_precision(plan: Plan, precision: sampling.Precision) -> None:
    pair = sampling.random_pair(sampling_jobs(plan)["4"].pair, CPU, precision)
    for network in (pair.generator, pair.reconstructor):
        assert {p.dtype for p in network.parameters()} == {sampling.DTYPES[precision]}
        assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_parts_on_cuda_are_in_bfloat16(plan: Plan) -> None:
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    found = sampling.measure_parts(sampling_jobs(plan)["4"], torch.device("cuda"))
    assert found["precision"] == "bf16" and min(found["seconds"].values()) > 0
