"""Scenes for the rasteriser's tests."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Backend, Rendering, rasterise
from aligncvc.splat.constants import ALPHA_MAX, ALPHA_MIN, STOP
from aligncvc.splat.dense import alphas, project

MEMBERS = [field.name for field in fields(Gaussians)]


def ring(views: int = 2, size_px: int = 24, **changes: object) -> Cameras:
    azimuths = [17 + 75 * i for i in range(views)]
    return replace(orbit(azimuths, 12.0, distance=3.0, fov_y_deg=39.6, size_px=size_px), **changes)


def scattered(
    count: int, seed: int, *, batch: int = 1, scale: tuple[float, float] = (0.02, 0.3)
) -> Gaussians:
    """float64 Gaussians in and a little outside the cameras' view; quaternions of any length."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, count, *shape, generator=g, dtype=torch.float64)

    low, high = torch.tensor(scale, dtype=torch.float64).log()
    return Gaussians(
        means=2.4 * uniform(3) - 1.2,
        scales=(low + (high - low) * uniform(3)).exp(),
        quats=torch.randn(batch, count, 4, generator=g, dtype=torch.float64),
        opacities=0.02 + 0.97 * uniform(),
        colors=uniform(3),
    )


def degenerate(seed: int) -> Gaussians:
    """Everything that may go wrong, among ordinary Gaussians (64 in all, float64)."""
    s = scattered(64, seed)
    means, scales, quats = s.means.clone(), s.scales.clone(), s.quats.clone()
    opacities, colors = s.opacities.clone(), s.colors.clone()
    means[0, 0:4] *= 20  # behind a camera, or far off the screen
    means[0, 4:8] = 2.9 * ring(1).positions.double() / 3.0  # between the camera and its near plane
    opacities[0, 8:12] = 0  # nothing
    opacities[0, 12:14] = 1 / 300  # fainter than any pixel keeps
    opacities[0, 14:20] = 1  # alpha saturates
    scales[0, 20:24] = 8.0  # larger than the scene
    scales[0, 24:28] = 1e-7  # smaller than a pixel by far
    scales[0, 28:32] = torch.tensor([2.0, 1e-4, 1e-4], dtype=torch.float64)  # needles
    scales[0, 32:34] = 0  # points
    means[0, 34:40] = means[0, 33]  # at the same place: equal depth
    quats[0, 40:44] *= 1e-3
    quats[0, 44:48] *= 1e3
    colors[0, 48:52] = -0.5  # out of range, but numbers
    means[0, 52:56, 2] += 2.5  # off the screen, with a tail on it
    scales[0, 52:56] = 0.6
    return Gaussians(means, scales, quats, opacities, colors)


def leaves(gaussians: Gaussians, dtype: torch.dtype = torch.float64) -> Gaussians:
    return Gaussians(*(getattr(gaussians, m).detach().to(dtype).clone().requires_grad_() for m in MEMBERS))


def cotangents(drawn: Rendering, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(image.shape, generator=g, dtype=torch.float64).to(image)
        for image in (drawn.rgb, drawn.alpha, drawn.depth)
    ]


def value_and_gradients(
    gaussians: Gaussians, cameras: Cameras, backend: Backend, dtype: torch.dtype = torch.float64,
    background: float = 0.7,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """([rgb, alpha, depth], gradient of a random linear function of them for each member)."""
    g = leaves(gaussians, dtype)
    drawn = rasterise(g, cameras, background, backend)
    images = [drawn.rgb, drawn.alpha, drawn.depth]
    gradients = torch.autograd.grad(images, [getattr(g, m) for m in MEMBERS], cotangents(drawn))
    return [image.detach() for image in images], list(gradients)


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value."""
    got, expected = got.detach().double(), expected.detach().double()
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def well_posed(gaussians: Gaussians, cameras: Cameras, margin: float = 1e-5) -> bool:
    """Whether no decision (skip, saturate, stop, order, cull) of any view is within `margin` of tipping over.

    Where one is, rounding or a finite step may rightly change the image by up to 1/255.
    """
    for b, c2ws in enumerate(cameras.c2w.expand(len(gaussians.means), *cameras.c2w.shape[-3:])):
        for c2w in c2ws:
            camera = replace(cameras, c2w=c2w[None])
            alpha, ids, depths = alphas(gaussians[b], camera)
            raw = gaussians.opacities[b, ids]
            product = (1 - alpha).cumprod(0)
            # alphas() zeroes what is below the threshold, so look a margin below it as well.
            lower, _, _ = alphas(
                replace(gaussians[b], opacities=gaussians.opacities[b] * (1 + 2 * margin)), camera
            )
            checks = [
                bool(((alpha > 0) & (alpha < ALPHA_MIN * (1 + margin))).any()),
                lower.shape != alpha.shape or bool(((lower > 0) != (alpha > 0)).any()),
                bool(((alpha - ALPHA_MAX).abs() < margin).logical_and(raw[:, None, None] < 1).any()),
                bool(((product / STOP - 1).abs() < 100 * margin).any()),
                bool((depths.diff().abs() < margin).any()),
                bool(((project(gaussians[b], camera).depths - cameras.near).abs() < margin).any()),
            ]
            if any(checks):
                return False
    return True


def well_posed_scene(count: int, seed: int, cameras: Cameras, margin: float = 1e-5) -> Gaussians:
    """The first well-posed scene among those of seeds seed, seed + 1000, ..."""
    for attempt in range(50):
        gaussians = scattered(count, seed + 1000 * attempt)
        if well_posed(gaussians, cameras, margin):
            return gaussians
    raise AssertionError("no well-posed scene found")
