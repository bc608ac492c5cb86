"""From one image to Gaussians: four steps beside fifty, each part once, or whole samplers at full size."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from aligncvc.bench.measure import Meter, Row, medians, row
from aligncvc.bench.synthetic import cameras_at, noise_image
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.loop.cost import Stopwatch, counted_calls
from aligncvc.loop.rollout import aware_step, renoise, view_noise
from aligncvc.models.generators.base import MultiViewGenerator
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


def posed_noise(spec: PairSpec, device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
    """An input image (3, H, W) of noise and the cameras of the pair's rig."""
    cameras = cameras_at(spec.rig.azimuths_deg, spec.renderings_px)
    return noise_image(spec.renderings_px).to(device), cameras.to(device)


def bench_sampling(jobs: dict[str, SampleJob]) -> list[Row]:
    """One object from image to Gaussians: four steps with feedback against fifty of two-stage sampling."""
    pair = load_pretrained(jobs["4"].pair, jobs["4"].checkpoints)
    posed, calls = posed_noise(pair.spec), {}

    def sample(name: str) -> float:
        cost = sample_one(pair, jobs[name], *posed, 0, "bench")[1]
        calls[name] = cost.network_calls
        return cost.seconds

    seconds = medians({name: lambda name=name: sample(name) for name in jobs}, REPEATS)
    return [
        row("image_to_gaussians_4_steps", seconds["4"], "s/object", seconds["50"]),
        row("image_to_gaussians_50_steps", seconds["50"], "s/object"),
        row("network_calls_4_steps", calls["4"], "calls", calls["50"]),
    ]


def random_pair(spec: PairSpec, device: torch.device, precision: Precision) -> PairOfModels:
    """A pair with random weights held in `precision`: time and memory do not depend on the numbers."""
    pair = load_pretrained(spec.without_weights())
    for network in (pair.generator, pair.reconstructor):
        network.to(device=device, dtype=DTYPES[precision])
    return pair


def computing(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """What a network of `precision` runs in: bfloat16 where torch's autocast allows it, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def part_calls(feedback: str, steps: int) -> dict[str, int]:
    """How often one object goes through each of PARTS."""
    lifts = 1 if feedback == "two_stage" else steps
    return dict(zip(PARTS, (1, steps, lifts, lifts, lifts, lifts - 1), strict=True))


def repeated(run: Callable[[], Any], device: torch.device) -> list[Any]:
    """What `run` returned each time that counts."""
    if device.type == "cuda":
        run()
    return [run() for _ in range(REPEATS_CUDA if device.type == "cuda" else 1)]


@torch.no_grad()
def measure_parts(job: SampleJob, device: torch.device) -> Result:
    """Each part of one step with feedback once: seconds, peak_mb by part; precision; network_calls.

    On CUDA in bfloat16; on a CPU in whichever of float32 and bfloat16 has the faster call of the U-Net
    (`generator_seconds` has both).
    """
    precision: Precision = "bf16" if device.type == "cuda" else "float32"
    pair, tried = random_pair(job.pair, device, precision), {}
    image, cameras = posed_noise(job.pair, device)
    if device.type != "cuda":
        tried = {p: generator_seconds(pair, image, cameras, job.guidance, p) for p in DTYPES}
        precision = min(DTYPES, key=lambda p: tried[p])
        pair.generator.to(DTYPES[precision])
        pair.reconstructor.to(DTYPES[precision])
    rig, (now, following) = batched([cameras]), (job.timesteps or [999, 749])[:2]
    start, fresh = (noise(pair.generator, len(cameras), name, device) for name in ("start", "fresh"))

    def step() -> tuple[Meter, int]:
        meter = Meter(device)
        with computing(device, precision), counted_calls(pair.generator.denoiser, len(cameras)) as calls:
            with meter("condition"):
                condition = pair.generator.encode_condition(image[None], rig.c2w)
            result = aware_step(
                pair.generator, pair.reconstructor, start, now, condition, rig, job.guidance, part=meter
            )
            z = renoise(pair.generator, result.renderings, fresh, following, part=meter)
        if not bool(z.isfinite().all()):
            raise ArithmeticError("random weights gave numbers that are not finite: their times mean nothing")
        return meter, calls[0]

    measured = repeated(step, device)
    return {
        "precision": precision,
        "generator_seconds": tried,
        "network_calls": measured[-1][1],
        "seconds": {p: statistics.median(m.seconds[p] for m, _ in measured) for p in PARTS},
        "peak_mb": {p: max(max(m.peak_mb[p]) for m, _ in measured) for p in PARTS},
    }


def noise(generator: MultiViewGenerator, views: int, name: str, device: torch.device) -> Tensor:
    return view_noise(generator.latent_shape(views), 0, "bench", name)[None].to(device)


def generator_seconds(
    pair: PairOfModels, image: Tensor, cameras: Cameras, guidance: float, precision: Precision
) -> float:
    """One guided call of the U-Net, which is left in this precision; a call for one view warms up."""
    generator = pair.generator.to(DTYPES[precision])
    with computing(image.device, precision):
        for rig, scale in ((cameras[:1], 1.0), (cameras, guidance)):
            condition = generator.encode_condition(image[None], batched([rig]).c2w)
            z = noise(generator, len(rig), "precision", image.device)
            watch, now = Stopwatch(image.device), torch.full((1,), 999, device=image.device)
            with watch("generator"):
                generator.predict(z, now, condition, guidance_scale=scale)
    return watch.total


def measure_whole(job: SampleJob, device: torch.device, precision: Precision) -> Result:
    """One object with a whole sampler: seconds, seconds_by_part, peak_mb, network_calls."""
    pair, posed = random_pair(job.pair, device, precision), posed_noise(job.pair, device)

    def sample() -> Cost:
        with computing(device, precision):
            return sample_one(pair, job, *posed, 0, "bench")[1]

    costs = sorted(repeated(sample, device), key=lambda cost: cost.seconds)
    median = costs[len(costs) // 2]
    return {
        "precision": precision,
        "seconds": median.seconds,
        "seconds_by_part": median.seconds_by_part,
        "peak_mb": max(cost.peak_mb for cost in costs),
        "network_calls": median.network_calls,
    }
