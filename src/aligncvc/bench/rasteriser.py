"""How fast the CPU kernel is, and how near its gradients are to the oracle's.

Medians of warm repeats, all in one process on two threads; the oracle and the kernel draw the same scene.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Backend, rasterise
from aligncvc.streams import torch_stream

SIZE_PX = 64
VIEWS = 4
THREADS = 2


def random_gaussians(
    count: int, *names: object, batch: int = 1, dtype: torch.dtype = torch.float32
) -> Gaussians:
    """(batch, count) leaves that fill a ball of radius 0.8, with deviations of 0.3 to 1.5 px at 64 px."""
    stream = torch_stream(0, "random_gaussians", *names)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, count, *shape, generator=stream, dtype=torch.float64)

    direction = torch.randn(batch, count, 3, generator=stream, dtype=torch.float64)
    members = [
        0.8 * uniform(0, 1, 1) * direction / direction.norm(dim=-1, keepdim=True),
        uniform(math.log(0.01), math.log(0.05), 3).exp(),
        torch.nn.functional.normalize(
            torch.randn(batch, count, 4, generator=stream, dtype=torch.float64), dim=-1
        ),
        uniform(0.01, 0.99),
        uniform(0, 1, 3),
    ]
    return Gaussians(*(member.to(dtype).requires_grad_() for member in members))


def cameras_around(views: int, size_px: int = SIZE_PX) -> Cameras:
    """The demo's rig: `views` cameras evenly round the object."""
    azimuths = [360 * i / views for i in range(views)]
    return orbit(azimuths, 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)


def forward_backward(gaussians: Gaussians, cameras: Cameras, backend: Backend) -> tuple[Tensor, ...]:
    """Gradients of a fixed linear function of rgb, alpha and depth, in the order of Gaussians' fields."""
    drawn = rasterise(gaussians, cameras, backend=backend)
    outputs = [drawn.rgb, drawn.alpha, drawn.depth]
    stream = torch_stream(0, "cotangent")
    weights = [torch.rand(image.shape[2:], generator=stream).to(image).expand_as(image) for image in outputs]
    return torch.autograd.grad(outputs, [getattr(gaussians, f.name) for f in fields(gaussians)], weights)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def gradient_error(count: int) -> float:
    """Largest difference of the float32 kernel's gradients from the float64 oracle's, one view.

    Relative, member by member, to the member's largest gradient.
    """
    cameras = cameras_around(1)
    exact = forward_backward(random_gaussians(count, dtype=torch.float64), cameras, "dense")
    fast = forward_backward(random_gaussians(count), cameras, "cpu")
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(exact, fast, strict=True))


def bench_splat(repeats: int = 5) -> list[dict[str, object]]:
    """Time the rasterisers; rows of name, value, unit, reference, ratio (times the reference's speed)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return _bench(repeats)
    finally:
        torch.set_num_threads(threads)


def _bench(repeats: int) -> list[dict[str, object]]:
    small, large = random_gaussians(4096), random_gaussians(16384)
    one, rig = cameras_around(1), cameras_around(VIEWS)
    batch = random_gaussians(16384, batch=4)
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "dense_4096": (lambda: forward_backward(small, one, "dense"), 1),
        "cpu_4096": (lambda: forward_backward(small, rig, "cpu"), VIEWS),
        "cpu_4096_one_view": (lambda: forward_backward(small, one, "cpu"), 1),
        "cpu_16384": (lambda: forward_backward(large, rig, "cpu"), VIEWS),
        "cpu_16384_batch_of_4": (lambda: forward_backward(batch, rig, "cpu"), 4 * VIEWS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, (run, views) in runs.items():
            elapsed = _seconds(run) / views
            if repeat:
                seconds[name].append(elapsed)
    dense_ms = 1e3 * statistics.median(seconds["dense_4096"])
    rows: list[dict[str, object]] = []
    for name, samples in seconds.items():
        ms = 1e3 * statistics.median(samples)
        compared = name.startswith("cpu_4096")
        rows.append({
            "name": f"splat_{name}_64px_forward_backward",
            "value": round(ms, 4),
            "unit": "ms/view",
            "reference": round(dense_ms, 1) if compared else None,
            "ratio": round(dense_ms / ms, 1) if compared else None,
        })  # fmt: skip
    error = gradient_error(4096)
    rows.append({"name": "splat_cpu_4096_gradient_error", "value": error, "unit": "relative to the largest",
                 "reference": 1e-5, "ratio": round(1e-5 / error, 2)})  # fmt: skip
    return rows


if __name__ == "__main__":
    for row in bench_splat():
        print(row)
