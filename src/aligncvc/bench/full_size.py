"""Seconds and memory of the paper's networks, with random weights.

Each piece runs in a process of its own and may take the memory that is free. docs/wonder3d.md says how to
read the rows.
"""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import torch

from aligncvc.bench.dry_step import align_job, changed, dry_step
from aligncvc.bench.measure import Row, measured_apart, row
from aligncvc.bench.sampling import (
    PARTS,
    Precision,
    Result,
    measure_parts,
    measure_whole,
    part_calls,
    sampling_jobs,
)
from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT

CONFIG = PROJECT_ROOT / "config/paper.yaml"
PREFIX = "full_size_"
"""Of the names of all rows that come from here."""

SAMPLERS = {"50": part_calls("two_stage", 50), "4": part_calls("aligncvc", 4)}
"""Calls of each part by the steps: the two-stage baseline, and AlignCVC's sampler."""

Mode = Literal["off", "parts", "whole"]


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
