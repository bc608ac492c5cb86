"""The projection against gsplat's own torch code and against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from splat_scenes import degenerate, leaves, relative_error, ring, scattered
from torch.autograd import gradcheck

from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import BLUR_PX2
from aligncvc.splat.dense import covariances, project


def _gsplat():
    return pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")


LGM_CAMERAS = orbit([0, 90, 180, 270], 0, distance=1.5, fov_y_deg=49.1, size_px=512)


@pytest.mark.parametrize(
    ("seed", "cameras"),
    [*((seed, replace(ring(3, 32), width=40, near=0.2)) for seed in range(3)),
     (3, replace(LGM_CAMERAS[[0, 1, 2]], near=0.2))],
    ids=["0", "1", "2", "at LGM's 512 px"],
)  # fmt: skip
def test_values_and_gradients_are_those_of_gsplat(seed: int, cameras: Cameras) -> None:
    gsplat = _gsplat()
    cameras = replace(cameras, c2w=cameras.c2w.double())
    theirs, ours = leaves(scattered(200, seed)[0]), leaves(scattered(200, seed)[0])
    covars, _ = gsplat._quat_scale_to_covar_preci(theirs.quats, theirs.scales, True, False)
    radii, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        theirs.means,
        covars,
        cameras.w2c,
        cameras.intrinsics.expand(3, 3, 3),
        cameras.width,
        cameras.height,
        eps2d=BLUR_PX2,
        near_plane=cameras.near,
    )
    mine = project(ours, cameras)
    assert relative_error(covariances(ours.scales, ours.quats), covars) < 1e-12
    in_front = depths > cameras.near
    assert bool(in_front.any())
    pairs = [(mine.means2d, means2d), (mine.conics, conics), (mine.depths, depths)]
    for got, expected in pairs:
        assert relative_error(got[in_front], expected[in_front]) < 1e-10
    # Their box ignores the opacity, so it is never smaller; what it drops, nothing of ours may draw.
    kept = (radii > 0).all(-1)
    assert not bool((mine.visible & ~kept).any()) and bool((mine.visible & kept).any())

    chosen = in_front & kept  # gradients compared where both draw
    weights = [torch.randn(got.shape, dtype=got.dtype) * chosen.view(*chosen.shape, *[1] * (got.dim() - 2))
               for got, _ in pairs]  # fmt: skip
    for i, members in enumerate((("means", "scales", "quats"),) * 3):
        got = torch.autograd.grad(pairs[i][0], [getattr(ours, m) for m in members], weights[i],
                                  retain_graph=True, allow_unused=True)  # fmt: skip
        expected = torch.autograd.grad(pairs[i][1], [getattr(theirs, m) for m in members], weights[i],
                                       retain_graph=True, allow_unused=True)  # fmt: skip
        for a, b in zip(got, expected, strict=True):
            assert (a is None) == (b is None)
            assert a is None or relative_error(a, b) < 1e-9


def test_gradients_are_finite_differences() -> None:
    g, cameras = scattered(6, 1, scale=(0.05, 0.4))[0], ring(2, 24)

    def outputs(means: torch.Tensor, scales: torch.Tensor, quats: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return project(Gaussians(means, scales, quats, g.opacities, g.colors), cameras)[:3]

    assert gradcheck(outputs, tuple(t.requires_grad_() for t in (g.means, g.scales, g.quats)))


def test_covariances_are_rotated_squares() -> None:
    """Half a turn about z by quaternion (0, 0, 0, 1) keeps, a quarter turn swaps x and y."""
    scales = torch.tensor([[1.0, 2.0, 3.0]] * 3)
    quarter = 0.5**0.5
    quats = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 5.0], [quarter, 0, 0, quarter]])
    expected = [[1.0, 4.0, 9.0], [1.0, 4.0, 9.0], [4.0, 1.0, 9.0]]
    for got, diagonal in zip(covariances(scales, quats), expected, strict=True):
        torch.testing.assert_close(got, torch.diag(torch.tensor(diagonal)), atol=1e-5, rtol=0)


def test_invisible_gaussians_have_no_box_and_finite_gradients() -> None:
    gaussians, cameras = leaves(degenerate(0)[0]), ring(2, 24)
    p = project(gaussians, cameras)
    assert not p.radii[~p.visible].any() and bool((p.radii[p.visible] > 0).all())
    assert not p.visible[:, 8:14].any(), "fainter than 1/255"
    assert not p.visible[0, 4:8].any(), "closer than the near plane"
    gradients = torch.autograd.grad(
        p.means2d.sum() + p.conics.sum(), [gaussians.means, gaussians.scales, gaussians.quats]
    )
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gsplat_on_cuda_draws_what_the_kernel_draws() -> None:
    from splat_scenes import MEMBERS, cotangents, well_posed_scene

    from aligncvc.splat import rasterise

    cameras = ring(3, 64)
    scene = well_posed_scene(400, 0, ring(3, 64))
    results = []
    for device, backend in (("cpu", "cpu"), ("cuda", "gsplat")):
        g = leaves(scene, torch.float32).to(device)
        inputs = [getattr(g, m) for m in MEMBERS]
        drawn = rasterise(g, cameras.to(device), 0.7, backend)
        images = [drawn.rgb, drawn.alpha, drawn.depth]
        gradients = torch.autograd.grad(images, inputs, cotangents(drawn))
        results.append([t.detach().cpu() for t in (*images, *gradients)])
    for name, got, expected in zip(["rgb", "alpha", "depth", *MEMBERS], *reversed(results), strict=True):
        assert relative_error(got, expected) < 1e-3, name
