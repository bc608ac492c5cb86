"""From one image to Gaussians: four steps beside fifty; at full size each part once, or whole samplers."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from aligncvc.bench.measure import Meter, Row, medians, row
from aligncvc.bench.synthetic import cameras_at, noise_image
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import Method
from aligncvc.loop.cost import counted_calls
from aligncvc.loop.feedback import find_feedback
from aligncvc.loop.unroll import Loop, sample, view_noise
from aligncvc.models.pair import PairOfModels, load_pretrained
from aligncvc.models.specs import PairSpec
from aligncvc.sample.sets import Cost, sample_one
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import batched

Precision = Literal["float32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}

PARTS = ("condition", "generator", "decode", "reconstruct", "render", "encode")
"""condition: VAE and image tower of the input image; generator: one guided call of the U-Net; the others:
all views of one object."""

REPEATS = 5
REPEATS_CUDA = 3
"""Measurements of each full-size time on CUDA, after one that warms up. On a CPU there is one."""

Result = dict[str, Any]


def sampling_jobs(plan: Plan) -> dict[str, SampleJob]:
    """By their number of steps: the two-stage baseline, and the sampler with feedback at every step."""
    methods = Method(feedback="two_stage", steps=50), Method(feedback="aligncvc", steps=4)
    spec = next(iter(plan.pairs.values()))
    return {str(method.steps): plan.sampling(spec, "bench", method) for method in methods}


def posed_noise(spec: PairSpec, device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
    """An input image (3, H, W) of noise and the cameras of the pair's rig."""
    cameras = cameras_at(spec.rig.azimuths_deg, spec.renderings_px)
    return noise_image(spec.renderings_px).to(device), cameras.to(device)


def bench_sampling(jobs: dict[str, SampleJob]) -> list[Row]:
    """One object from image to Gaussians: four steps with feedback against fifty of two-stage sampling."""
    pair = load_pretrained(jobs["4"].pair, jobs["4"].checkpoints)
    posed, calls = posed_noise(pair.spec), {}

    def sampled(steps: str) -> float:
        cost = sample_one(pair, jobs[steps], *posed, 0, "bench")[1]
        calls[steps] = cost.network_calls
        return cost.seconds

    seconds = medians({steps: partial(sampled, steps) for steps in jobs}, REPEATS)
    return [
        row("image_to_gaussians_4_steps", seconds["4"], "s/object", seconds["50"]),
        row("image_to_gaussians_50_steps", seconds["50"], "s/object"),
        row("network_calls_4_steps", calls["4"], "calls", calls["50"]),
    ]


def random_pair(spec: PairSpec, device: torch.device, precision: Precision) -> PairOfModels:
    """A pair with random weights: time and memory do not depend on the numbers."""
    return held_in(precision, load_pretrained(spec.without_weights()).to(device))


def held_in(precision: Precision, pair: PairOfModels) -> PairOfModels:
    """The pair itself, its weights in another precision."""
    pair.generator.to(DTYPES[precision])
    pair.reconstructor.to(DTYPES[precision])
    return pair


def computing(device: torch.device, precision: Precision) -> torch.autocast:
    """What a network of `precision` runs in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def part_calls(feedback: str, steps: int) -> dict[str, int]:
    """How often one object goes through each of PARTS."""
    lifts = 1 if feedback == "two_stage" else steps
    return dict(zip(PARTS, (1, steps, lifts, lifts, lifts, lifts - 1), strict=True))


def repeated(run: Callable[[], Any], device: torch.device) -> list[Any]:
    """What `run` returned each time that counts."""
    if device.type == "cuda":
        run()
    return [run() for _ in range(REPEATS_CUDA if device.type == "cuda" else 1)]


def measure_parts(job: SampleJob, device: torch.device) -> Result:
    """Each part once: seconds, peak_mb by part; precision; network_calls of a step with feedback.

    On CUDA in bfloat16; on a CPU in what has the faster call of the U-Net (`generator_seconds` has both).
    """
    tried: tuple[Precision, ...] = ("bf16",) if device.type == "cuda" else ("float32", "bf16")
    pair = random_pair(job.pair, device, tried[0])
    found = {p: _measured_parts(held_in(p, pair), job, device, p) for p in tried}
    calls = {precision: result["seconds"]["generator"] for precision, result in found.items()}
    best = min(calls, key=calls.__getitem__)
    return {**found[best], "precision": best, "generator_seconds": calls if len(calls) > 1 else {}}


def _measured_parts(pair: PairOfModels, job: SampleJob, device: torch.device, precision: Precision) -> Result:
    """Of two steps with feedback: the first warms up the parts that the second measures."""
    image, cameras = posed_noise(job.pair, device)
    shape, rows = pair.generator.latent_shape(len(cameras)), pair.generator.rows(len(cameras))
    times = find_feedback("aligncvc").times(pair.generator.schedule, 4, job.timesteps)[:2]

    def two_steps() -> tuple[Meter, int]:
        meter = Meter(device)
        noise = lambda index, _: view_noise(shape, 0, "bench", index)[None].to(device)  # noqa: E731
        loop = Loop(pair, batched([cameras]), job.guidance, noise, meter)
        with computing(device, precision), counted_calls(pair.generator.denoiser, rows) as calls:
            sampled = sample(loop, find_feedback("aligncvc"), image, times)
        if not bool(sampled.renderings.isfinite().all()):
            raise ArithmeticError("random weights gave numbers that are not finite: their times mean nothing")
        for kept in (meter.visits, meter.peak_mb):
            kept["condition"] = kept["encode"][:1]  # the watch counts both as encoding
        return meter, calls[0] // len(times)

    measured = repeated(two_steps, device)
    return {
        "network_calls": measured[-1][1],
        "seconds": {p: statistics.median(m.visits[p][-1] for m, _ in measured) for p in PARTS},
        "peak_mb": {p: max(m.peak_mb[p][-1] for m, _ in measured) for p in PARTS},
    }


def measure_whole(job: SampleJob, device: torch.device, precision: Precision) -> Result:
    """One object with a whole sampler: seconds, seconds_by_part, peak_mb, network_calls."""
    pair, posed = random_pair(job.pair, device, precision), posed_noise(job.pair, device)

    def sampled() -> Cost:
        with computing(device, precision):
            return sample_one(pair, job, *posed, 0, "bench")[1]

    costs = sorted(repeated(sampled, device), key=lambda cost: cost.seconds)
    median = costs[len(costs) // 2]
    return {
        "precision": precision,
        "seconds": median.seconds,
        "seconds_by_part": median.seconds_by_part,
        "peak_mb": max(cost.peak_mb for cost in costs),
        "network_calls": median.network_calls,
    }
