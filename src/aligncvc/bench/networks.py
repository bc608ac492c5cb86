"""Seconds and memory of the networks: the demo's pair from image to Gaussians, and the paper's at full size.

At full size weights are random, and each piece runs in a process of its own and may take the memory that is
free. docs/wonder3d.md says how to read the rows.
"""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from torch import Tensor

from aligncvc.bench.dry_step import align_job, changed, dry_step
from aligncvc.bench.measure import Meter, Row, measured_apart, medians, row
from aligncvc.bench.synthetic import cameras_at, noise_image
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.jobs.sample import SampleJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import Method
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.loop.cost import counted_calls
from aligncvc.loop.feedback import find_feedback
from aligncvc.loop.unroll import Loop, sample, view_noise
from aligncvc.models.pair import PairOfModels, load_pretrained
from aligncvc.models.specs import PairSpec
from aligncvc.sample.sets import Cost, sample_one
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import batched

CONFIG = PROJECT_ROOT / "config/paper.yaml"
PREFIX = "full_size_"
Precision = Literal["float32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}
Mode = Literal["off", "parts", "whole"]
Result = dict[str, Any]

PARTS = ("condition", "generator", "decode", "reconstruct", "render", "encode")
"""condition: VAE and image tower of the input image; generator: one guided call of the U-Net; the others:
all views of one object."""

REPEATS = 5
REPEATS_CUDA = 3
"""Measurements of each full-size time on CUDA, after one that warms up. On a CPU there is one."""


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


SAMPLERS = {"50": part_calls("two_stage", 50), "4": part_calls("aligncvc", 4)}
"""Calls of each part by the steps: the two-stage baseline, and AlignCVC's sampler."""


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


def measure_step(job: AlignJob, precision: Precision, plain: bool) -> Result:
    """seconds, peak_mb, weights_mb, finite and a note of one step at batch 1 on a synthetic object.

    On CUDA the mean over the unrolled steps k, each after a step that warms up; on a CPU k = 1, once.
    """
    cuda, bf16 = torch.cuda.is_available(), not plain and precision == "bf16"
    job = changed(job, batch=1, bf16=bf16, gradient_checkpointing=not plain)
    unrolled = range(1, 1 + (len(job.timesteps) if cuda else 1))
    found = [dry_step(job, k=k, steps=2 if cuda else 1, teacher_copy=plain) for k in unrolled]
    facts = [
        f"mean of k = 1 to {unrolled[-1]}" if cuda else "k = 1",
        "bf16" if bf16 else "float32",
        "no gradient checkpointing" if plain else "gradient checkpointing",
        "teacher's denoiser twice" if plain else "one denoiser",
        f"discriminator on {found[0]['discriminator']}",
    ]
    return {
        "seconds": statistics.mean(f["seconds"] for f in found),
        "peak_mb": max(f["peak_mb"] for f in found),
        "weights_mb": found[0]["weights_mb"],
        "finite": all(f["finite"] for f in found),
        "note": "; ".join(facts),
    }


PIECES: dict[str, Callable[[Plan, torch.device, Precision], Result]] = {
    "parts": lambda plan, device, _: measure_parts(sampling_jobs(plan)["4"], device),
    "50 steps": lambda plan, device, p: measure_whole(sampling_jobs(plan)["50"], device, p),
    "4 steps": lambda plan, device, p: measure_whole(sampling_jobs(plan)["4"], device, p),
    "post-training step": lambda plan, _, p: measure_step(align_job(plan), p, plain=False),
    "plain post-training step": lambda plan, _, p: measure_step(align_job(plan), p, plain=True),
}
"""What each process measures."""


def measure_piece(name: str, plan: Plan, precision: Precision) -> Result:
    """A piece, with no more memory than is free. Raises UserError if that is too little."""
    cuda = torch.cuda.is_available()
    free = int(torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available)
    if not cuda:
        resource.setrlimit(resource.RLIMIT_DATA, (free, resource.RLIM_INFINITY))
    try:
        return PIECES[name](plan, torch.device("cuda" if cuda else "cpu"), precision)
    except (MemoryError, RuntimeError) as error:  # torch's allocator raises the latter on a CPU
        if "memory" not in f"{type(error).__name__} {error}".lower():
            raise
        raise UserError(f"it needs more memory than the {free / 2**30:.1f} GiB that are free") from None


def bench_full_size(config: Path = CONFIG, mode: Mode | None = None) -> list[Row]:
    """Rows for results/bench.json; prints a sentence for each piece that was left out.

    config: its weights are not read. mode: `parts` measures each part of the samplers once, `whole` the
    samplers too, `off` nothing; None: whole on CUDA, parts on a CPU (50 steps take a quarter of an hour).
    """
    cuda = torch.cuda.is_available()
    mode = mode or ("whole" if cuda else "parts")
    left_out = {"off": tuple(PIECES), "parts": ("50 steps", "4 steps"), "whole": ()}[mode]
    # bfloat16 on CUDA; on a CPU the first piece finds out
    precision: Precision = "bf16" if cuda else "float32"
    plan = Plan.read(config)
    results: dict[str, Result] = {}
    for name in [name for name in PIECES if name not in left_out]:
        try:
            results[name] = measured_apart(measure_piece, name, plan, precision)
            precision = results[name].get("precision", precision)
        except (UserError, ArithmeticError, RuntimeError) as error:
            print(f"full size, {name}: left out: {error}")
    return rows_of(results)


def rows_of(results: dict[str, Result]) -> list[Row]:
    """All rows. results: the pieces that were measured."""
    ours, plain = results.get("post-training step"), results.get("plain post-training step")
    return [
        *(part_rows(results["parts"]) if "parts" in results else []),
        *sampler_rows(results),
        *(step_rows("align_step", ours, plain or {}) if ours else []),
        *(step_rows("align_step_plain", plain, {}) if ours and plain else []),
    ]


def part_rows(found: Result) -> list[Row]:
    """Each part once, and how often the samplers call it."""
    faster, note = "the faster one decides the precision", found["precision"]
    tried, seconds, memory = found["generator_seconds"], found["seconds"], found["peak_mb"]
    calls = {(steps, part): n for steps, counted in SAMPLERS.items() for part, n in counted.items()}
    return [
        *(row(f"{PREFIX}generator_{name}", s, "s/call", note=faster) for name, s in tried.items()),
        *(row(f"{PREFIX}one_{part}", seconds[part], "s/call", note=note) for part in PARTS),
        *(row(f"{PREFIX}one_{part}_memory", memory[part], "MB", note=note) for part in PARTS),
        *(row(f"{PREFIX}{k}_steps_{part}_calls", n, "calls/object") for (k, part), n in calls.items()),
    ]


def sampler_rows(results: dict[str, Result]) -> list[Row]:
    """The samplers as measured, else what their parts come to; four steps against fifty, like with like."""
    found = {steps: _sampler(steps, results) for steps in SAMPLERS}
    fifty = {"50": {}, "4": found["50"]}
    return [
        row(f"{PREFIX}{steps}_steps{suffix}", value, unit, fifty[steps].get(suffix, (None,))[0], note)
        for steps, numbers in found.items()
        for suffix, (value, unit, note) in numbers.items()
    ]


def _sampler(steps: str, results: dict[str, Result]) -> dict[str, tuple[float, str, str | None]]:
    """(value, unit, note) by the end of the row's name."""
    whole, parts = results.get(f"{steps} steps"), results.get("parts")
    if whole:
        times = {"": whole["seconds"], **{f"_{part}": s for part, s in whole["seconds_by_part"].items()}}
        return {
            **{suffix: (value, "s/object", whole["precision"]) for suffix, value in times.items()},
            "_memory": (whole["peak_mb"], "MB", whole["precision"]),
            "_network_calls": (whole["network_calls"], "calls/object", None),
        }
    if parts:
        note = f"{parts['precision']}; computed: sum of one_* x *_calls, not measured"
        seconds = sum(calls * parts["seconds"][part] for part, calls in SAMPLERS[steps].items())
        return {
            "_computed": (seconds, "s/object", note),
            "_network_calls": (parts["network_calls"] * int(steps), "calls/object", None),
        }
    return {}


def step_rows(name: str, found: Result, plain: Result) -> list[Row]:
    """One step of post-training, against the plain one if that was measured."""
    return [
        row(f"{PREFIX}{name}", found["seconds"], "s/step", plain.get("seconds"), found["note"]),
        row(f"{PREFIX}{name}_memory", found["peak_mb"], "MB", plain.get("peak_mb"), found["note"]),
    ]
