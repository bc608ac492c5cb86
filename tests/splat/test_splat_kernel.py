"""The C kernel against the dense oracle, against finite differences and against itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from splat_scenes import (
    MEMBERS,
    cotangents,
    degenerate,
    leaves,
    relative_error,
    ring,
    scattered,
    value_and_gradients,
    well_posed,
    well_posed_scene,
)

from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import rasterise
from aligncvc.splat.cpu import rasterise_cpu


def assert_agree(gaussians: Gaussians, cameras, dtype: torch.dtype, tolerance: float) -> None:
    exact_images, exact = value_and_gradients(gaussians, cameras, "dense")
    images, gradients = value_and_gradients(gaussians, cameras, "cpu", dtype)
    for name, got, expected in zip(["rgb", "alpha", "depth"], images, exact_images, strict=True):
        assert relative_error(got, expected) < tolerance, name
    for name, got, expected in zip(MEMBERS, gradients, exact, strict=True):
        assert float(expected.abs().max()) > 0, f"the test says nothing about {name}"
        assert relative_error(got, expected) < tolerance, f"gradient of {name}"


@pytest.mark.parametrize("seed", range(4))
def test_double_kernel_is_the_oracle(seed: int) -> None:
    assert_agree(scattered(150, seed, batch=2), ring(2, 24), torch.float64, 1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_float_kernel_is_near_the_oracle(seed: int) -> None:
    cameras = ring(2, 24)
    assert_agree(well_posed_scene(100, seed, cameras), cameras, torch.float32, 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_degenerate_gaussians(seed: int) -> None:
    gaussians = degenerate(seed)
    assert_agree(gaussians, ring(3, 24, near=0.5), torch.float64, 1e-9)
    for dtype in (torch.float32, torch.float64):
        images, gradients = value_and_gradients(gaussians, ring(3, 24), "cpu", dtype)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in images + gradients)


def test_small_and_oblong_images() -> None:
    """Sizes that are no multiple of the kernel's bands and vectors, down to one pixel."""
    gaussians = scattered(60, 5)
    for width, height in ((1, 1), (7, 33), (50, 17), (9, 16)):
        assert_agree(gaussians, replace(ring(1), width=width, height=height), torch.float64, 1e-10)


def test_many_opaque_layers_stop_early() -> None:
    """Whatever lies behind 1e-4 of transmittance is neither drawn nor gets gradient."""
    g = scattered(1, 0)
    layers = 40
    means = torch.zeros(1, layers, 3, dtype=torch.float64)
    means[..., 1] = torch.linspace(-0.5, 0.5, layers)
    g = Gaussians(
        means,
        scales=torch.tensor([1.6, 2.0, 2.4], dtype=torch.float64).expand(1, layers, 3),
        quats=g.quats.expand(1, layers, 4),
        opacities=torch.full((1, layers), 0.6, dtype=torch.float64),
        colors=torch.linspace(0, 1, 3 * layers, dtype=torch.float64).view(1, layers, 3),
    )
    camera = ring(1, 16)
    assert_agree(g, camera, torch.float64, 1e-10)
    (_, alpha, _), gradients = value_and_gradients(g, camera, "cpu")
    assert 1 - float(alpha.max()) > 1e-4
    hidden = gradients[-1].abs().amax(-1)[0] == 0
    assert bool(hidden.any()) and not bool(hidden.all())


def test_a_saturated_alpha_passes_no_gradient() -> None:
    """Where alpha is cut to 0.999, shape and opacity have no say; beside it they have."""
    g = scattered(3, 1)
    means = torch.tensor([[[0, 0, 0], [0.1, 0, 0.1], [0, 0, -0.1]]], dtype=torch.float64)
    scales = torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64).expand(1, 3, 3)
    opacities = torch.tensor([[1.0, 1.0, 0.5]], dtype=torch.float64)
    g = Gaussians(means, scales, g.quats, opacities, g.colors)
    camera = ring(1, 24)
    first = replace(g, opacities=opacities * torch.tensor([[1.0, 0, 0]]))
    saturated = rasterise(first, camera).alpha >= 0.999 - 1e-9
    assert bool(saturated.any()) and not bool(saturated.all())
    assert_agree(g, camera, torch.float64, 1e-10)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31), count=st.integers(1, 30), views=st.integers(1, 3), size=st.integers(4, 20),
    fov=st.floats(15, 80), member=st.sampled_from(MEMBERS),
)  # fmt: skip
def test_gradients_are_finite_differences(
    seed: int, count: int, views: int, size: int, fov: float, member: str
) -> None:
    cameras = replace(ring(views, size), fov_y_deg=fov)
    gaussians = leaves(scattered(count, seed, scale=(0.05, 0.5)))
    assume(well_posed(gaussians, cameras, 1e-4))
    drawn = rasterise(gaussians, cameras)
    weights = cotangents(drawn, seed)
    value = getattr(gaussians, member)
    (gradient,) = torch.autograd.grad([drawn.rgb, drawn.alpha, drawn.depth], value, weights)
    direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed), dtype=value.dtype)
    direction /= direction.norm()

    def along(step: float) -> float:
        moved = rasterise(replace(gaussians.detach(), **{member: value.detach() + step * direction}), cameras)
        images = (moved.rgb, moved.alpha, moved.depth)
        return float(sum((w * image).sum() for w, image in zip(weights, images, strict=True)))

    step = 1e-6
    numeric = (along(step) - along(-step)) / (2 * step)
    scale = float(gradient.norm()) + 1e-3
    assert abs(numeric - float((gradient * direction).sum())) < 1e-5 * scale


def _bits(gaussians: Gaussians, cameras, threads: int) -> list[torch.Tensor]:
    g = leaves(gaussians, torch.float32)
    images = rasterise_cpu(g, cameras, 1.0, threads=threads)
    weights = [torch.linspace(-1, 1, image.numel()).view_as(image) for image in images]
    gradients = torch.autograd.grad(images, [getattr(g, m) for m in MEMBERS], weights)
    return [*(image.detach() for image in images), *gradients]


def test_same_bits_twice_and_for_any_number_of_threads() -> None:
    gaussians = scattered(2500, 3, batch=2, scale=(0.01, 0.1))  # several chunks, several bands
    cameras = ring(3, 40)
    cameras = replace(cameras, c2w=cameras.c2w.expand(2, -1, -1, -1))
    expected = _bits(gaussians, cameras, 1)
    for threads in (1, 2, 3, 16):
        for got, wanted in zip(_bits(gaussians, cameras, threads), expected, strict=True):
            assert torch.equal(got, wanted), f"{threads} threads"


def test_a_view_is_the_same_alone_and_in_company() -> None:
    gaussians, cameras = leaves(scattered(500, 4, batch=2), torch.float32), ring(3, 40)
    together = rasterise(gaussians, cameras)
    for b in range(2):
        unbatched = rasterise(gaussians[b], cameras)
        assert unbatched.rgb.shape == (3, 3, 40, 40) and unbatched.depth.shape == (3, 1, 40, 40)
        for v in range(3):
            alone = rasterise(gaussians[b], cameras[v])
            for name in ("rgb", "alpha", "depth"):
                assert torch.equal(getattr(together, name)[b, v], getattr(alone, name)[0])
                assert torch.equal(getattr(unbatched, name)[v], getattr(alone, name)[0])
    expected = torch.autograd.grad(together.rgb[1].sum(), gaussians.means)[0]
    got = torch.autograd.grad(rasterise(gaussians[1], cameras).rgb.sum(), gaussians.means)[0]
    assert torch.equal(got, expected)


def test_a_loss_on_one_output_leaves_the_others_out() -> None:
    """Autograd hands the kernel zeros for outputs that no loss uses."""
    gaussians = leaves(scattered(50, 6))
    drawn = rasterise(gaussians, ring())
    assert not torch.autograd.grad(drawn.alpha.sum(), gaussians.colors)[0].any()
    drawn = rasterise(gaussians, ring())
    assert torch.autograd.grad(drawn.depth.sum(), gaussians.means)[0].any()
