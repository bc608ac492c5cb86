"""From one image to Gaussians at full size: each part once, or whole samplers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from aligncvc.bench.weights import (
    GIB,
    Precision,
    computing,
    input_image,
    meta_pair,
    numbers_of,
    random_pair,
    rig,
)
from aligncvc.config.sections import Config, Method
from aligncvc.hardware import PeakMemory
from aligncvc.loop.cost import Stopwatch, counted_calls
from aligncvc.loop.rollout import aware_step, renoise, timesteps_for, view_noise
from aligncvc.models.generators import MultiViewGenerator
from aligncvc.sample.batch import sample_one
from aligncvc.scene.renderset import batched

PARTS = ("condition", "generator", "decode", "reconstruct", "render", "encode")
"""condition: VAE and image tower of the input image; generator: one guided call of the U-Net; the others:
all views of one object."""

METHODS = {"50": Method(sampler="two_stage", steps=50), "4": Method(steps=4)}
"""The baseline and AlignCVC's sampler."""

REPEATS_CUDA = 3
"""Measurements of each time on CUDA, after one that warms up; their median counts. On a CPU there is one."""

HEADROOM = 3 * GIB
"""Beside the weights: the process with its libraries, and the activations of sampling without gradients."""

Result = dict[str, Any]


def part_calls(method: Method) -> dict[str, int]:
    """How often one object goes through each of PARTS."""
    if method.sampler == "two_stage":
        lifts, encodings = 1, 0
    else:
        lifts, encodings = method.steps, method.steps - 1
    return dict(zip(PARTS, (1, method.steps, lifts, lifts, lifts, encodings), strict=True))


def memory_needed(config: Config, precision: Precision) -> int:
    """Bytes that sampling takes: an estimate, to decide whether to try."""
    size = 2 if precision == "bf16" else 4
    return sum(numbers_of(network) for network in meta_pair(config)) * size + HEADROOM


class Meter:
    """Seconds and peak memory (MB) of parts, each entered with `meter(part)`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.peak_mb: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        memory, watch = PeakMemory(self.device), Stopwatch(self.device)
        with watch(part):
            yield
        self.seconds[part].append(watch.seconds[part])
        self.peak_mb[part] = max(self.peak_mb[part], memory.read())


def repeated(run: Callable[[], Any], device: torch.device) -> list[Any]:
    """What `run` returned each time that counts."""
    if device.type == "cuda":
        run()
    return [run() for _ in range(REPEATS_CUDA if device.type == "cuda" else 1)]


@torch.no_grad()
def measure_parts(config: Config, device: torch.device) -> Result:
    """Each part of one 3D-aware step once: seconds, peak_mb by part; precision; network_calls of one step.

    On CUDA in bfloat16; on a CPU in whichever of float32 and bfloat16 has the faster call of the U-Net
    (`generator_seconds` has both).
    """
    precision: Precision = "bf16" if device.type == "cuda" else "float32"
    generator, reconstructor = random_pair(config, device, precision)
    tried: dict[str, float] = {}
    if device.type != "cuda":
        tried, precision = faster_precision(generator, config, device)
        reconstructor.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    cameras, image = batched([rig(config)]).to(device), input_image(config)[None].to(device)
    timesteps = timesteps_for(METHODS["4"].steps, config)
    views = cameras.c2w.shape[1]
    start, fresh = (noise(generator, views, name, device) for name in ("start", "fresh"))

    def step() -> tuple[Meter, int]:
        meter = Meter(device)
        with computing(device, precision), counted_calls(generator.unet, views) as calls:
            with meter("condition"):
                condition = generator.encode_condition(image, cameras.c2w)
            result = aware_step(
                generator, reconstructor, start, timesteps[0], condition, cameras, config.mvg.guidance_scale,
                part=meter,
            )  # fmt: skip
            following = renoise(generator, result.renderings, fresh, timesteps[1], part=meter)
        if not bool(following.isfinite().all()):
            raise ArithmeticError("random weights gave numbers that are not finite: their times mean nothing")
        return meter, calls[0]

    measured = repeated(step, device)
    return {
        "precision": precision,
        "generator_seconds": tried,
        "network_calls": measured[-1][1],
        "seconds": {p: statistics.median(s for m, _ in measured for s in m.seconds[p]) for p in PARTS},
        "peak_mb": {p: max(m.peak_mb[p] for m, _ in measured) for p in PARTS},
    }


def noise(generator: MultiViewGenerator, views: int, name: str, device: torch.device) -> torch.Tensor:
    return view_noise(generator.latent_shape(views), 0, "bench", name)[None].to(device)


def faster_precision(
    generator: MultiViewGenerator, config: Config, device: torch.device
) -> tuple[dict[str, float], Precision]:
    """Seconds of one guided call of the U-Net in float32 and in bfloat16; leaves it in the faster one."""
    cameras, image = rig(config).to(device), input_image(config)[None].to(device)
    one, all_views = batched([cameras[:1]]), batched([cameras])
    seconds: dict[str, float] = {}
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    for precision in precisions:
        generator.to(torch.bfloat16 if precision == "bf16" else torch.float32)
        with computing(device, precision):
            for rigged, guidance in (
                (one, 1.0),
                (all_views, config.mvg.guidance_scale),
            ):  # the first warms up
                views = rigged.c2w.shape[1]
                condition = generator.encode_condition(image, rigged.c2w)
                z = noise(generator, views, "precision", device)
                watch, now = Stopwatch(device), torch.full((1,), 999, device=device)
                with watch("generator"):
                    generator.predict(z, now, condition, guidance_scale=guidance)
        seconds[precision] = watch.total
    best = min(precisions, key=lambda p: seconds[p])
    generator.to(torch.bfloat16 if best == "bf16" else torch.float32)
    return seconds, best


def measure_whole(config: Config, device: torch.device, method: Method, precision: Precision) -> Result:
    """One object with a whole sampler: seconds, seconds_by_part, peak_mb, network_calls."""
    generator, reconstructor = random_pair(config, device, precision)
    cameras, image = rig(config).to(device), input_image(config).to(device)

    def sample() -> Any:
        with computing(device, precision):
            return sample_one(generator, reconstructor, method, config, image, cameras, 0, "bench")[1]

    costs = sorted(repeated(sample, device), key=lambda cost: cost.seconds)
    median = costs[len(costs) // 2]
    return {
        "precision": precision,
        "seconds": median.seconds,
        "seconds_by_part": median.seconds_by_part,
        "peak_mb": max(cost.peak_mb for cost in costs),
        "network_calls": median.network_calls,
    }
