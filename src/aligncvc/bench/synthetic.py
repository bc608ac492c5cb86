"""Scenes that need no data: clouds of Gaussians, cameras round them, and their renders on disk."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.files import write_text
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import Views, save_views
from aligncvc.splat import Rendering, rasterise
from aligncvc.streams import torch_stream

OBJECT = "synthetic"
BLOBS = 400


def random_gaussians(count: int, *, batch: int = 1, dtype: torch.dtype = torch.float32) -> Gaussians:
    """(batch, count) leaves that fill a ball of radius 0.8, with deviations of 0.3 to 1.5 px at 64 px."""
    stream = torch_stream(0, "random_gaussians")

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, count, *shape, generator=stream, dtype=torch.float64)

    def direction(size: int) -> Tensor:
        drawn = torch.randn(batch, count, size, generator=stream, dtype=torch.float64)
        return torch.nn.functional.normalize(drawn, dim=-1)

    towards = direction(3)
    members = [
        0.8 * uniform(0, 1, 1) * towards,
        uniform(math.log(0.01), math.log(0.05), 3).exp(),
        direction(4),
        uniform(0.01, 0.99),
        uniform(0, 1, 3),
    ]
    return Gaussians(*(member.to(dtype).requires_grad_() for member in members))


def cameras_at(azimuths_deg: list[float], size_px: int) -> Cameras:
    """The demo's orbit round the object at these azimuths."""
    return orbit(azimuths_deg, 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)


def noise_image(size_px: int) -> Tensor:
    """(3, H, W): noise in [0, 1], the same each time."""
    return torch.rand(3, size_px, size_px, generator=torch_stream(0, "noise_image"))


def views_of(drawn: Rendering, cameras: Cameras) -> Views:
    """What was drawn over black, as a render stage gives it: straight alpha, and depth."""
    alpha = drawn.alpha.clamp(0, 1)
    colours = (drawn.rgb / alpha.clamp_min(1e-4)).clamp(0, 1)
    return Views(torch.cat([colours, alpha], 1), cameras, drawn.depth[:, 0])


@contextmanager
def synthetic_renders(azimuths_deg: list[float], size_px: int) -> Iterator[RenderSet]:
    """One object's ring as the render stage lays it out: the fewest views, at least twice the rig's."""
    wanted = range(2 * len(azimuths_deg), 721)
    ring = next(n for n in wanted if all(abs(a * n / 360 - round(a * n / 360)) < 1e-6 for a in azimuths_deg))
    cameras = cameras_at(ring_azimuths_deg(ring), size_px)
    with tempfile.TemporaryDirectory(prefix="aligncvc-synthetic-") as folder:
        with torch.no_grad():
            views = views_of(rasterise(random_gaussians(BLOBS)[0], cameras, background=0.0), cameras)
        rigs = {"rig": [round(a * ring / 360) % ring for a in azimuths_deg], "ring": list(range(ring))}
        save_views(Path(folder, OBJECT), views, object=OBJECT, rigs=rigs)
        manifest = Path(folder, "manifest.tsv")
        write_text(manifest, f"id\tstatus\tjob_hash\n{OBJECT}\tok\t0\n")
        yield RenderSet(manifest, size_px)
