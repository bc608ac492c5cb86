"""How fast the CPU kernel is, and how near its gradients are to the oracle's: both draw the same scene."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor

from aligncvc.bench.measure import Clock, Row, medians, row, timed, torch_threads
from aligncvc.bench.synthetic import cameras_at, random_gaussians
from aligncvc.scene.cameras import Cameras, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Backend, rasterise
from aligncvc.streams import torch_stream

SIZE_PX = 64
VIEWS = 4
THREADS = 2
PROMISED_ERROR = 1e-5


def forward_backward(gaussians: Gaussians, cameras: Cameras, backend: Backend) -> tuple[Tensor, ...]:
    """Gradients of a fixed linear function of rgb, alpha and depth, in the order of Gaussians' fields."""
    drawn = rasterise(gaussians, cameras, backend=backend)
    outputs = [drawn.rgb, drawn.alpha, drawn.depth]
    stream = torch_stream(0, "cotangent")
    weights = [torch.rand(image.shape[2:], generator=stream).to(image).expand_as(image) for image in outputs]
    return torch.autograd.grad(outputs, [getattr(gaussians, f.name) for f in fields(gaussians)], weights)


def gradient_error(count: int) -> float:
    """Largest difference of the float32 kernel's gradients from the float64 oracle's, one view.

    Relative, member by member, to the member's largest gradient.
    """
    cameras = cameras_at([0.0], SIZE_PX)
    exact = forward_backward(random_gaussians(count, dtype=torch.float64), cameras, "dense")
    fast = forward_backward(random_gaussians(count), cameras, "cpu")
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(exact, fast, strict=True))


def bench_rasteriser(clock: Clock = time.perf_counter, repeats: int = 5) -> list[Row]:
    """Forward and backward, milliseconds a view, against the oracle for as many Gaussians; the error."""
    small, large = random_gaussians(4096), random_gaussians(16384)
    one, rig = cameras_at([0.0], SIZE_PX), cameras_at(ring_azimuths_deg(VIEWS), SIZE_PX)
    scenes: dict[str, tuple[Gaussians, Cameras, Backend]] = {
        "dense_4096": (small, one, "dense"),
        "cpu_4096": (small, rig, "cpu"),
        "cpu_4096_one_view": (small, one, "cpu"),
        "cpu_16384": (large, rig, "cpu"),
        "cpu_16384_batch_of_4": (random_gaussians(16384, batch=4), rig, "cpu"),
    }
    runs: dict[str, Callable[[], float]] = {
        name: timed(partial(forward_backward, *scene), clock) for name, scene in scenes.items()
    }
    with torch_threads(THREADS):
        seconds = medians(runs, repeats)
        error = gradient_error(4096)
    ms = {n: 1e3 * seconds[n] / (len(g.means) * len(cameras)) for n, (g, cameras, _) in scenes.items()}
    dense = {name: ms["dense_4096"] for name in ms if name.startswith("cpu_4096")}
    rows = [row(f"splat_{n}_64px_forward_backward", ms[n], "ms/view", dense.get(n)) for n in ms]
    return [*rows, row("splat_cpu_4096_gradient_error", error, "relative to the largest", PROMISED_ERROR)]
