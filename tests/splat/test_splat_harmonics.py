"""Colours by direction: gsplat's own torch code, and a case by hand."""

from __future__ import annotations

import pytest
import torch

from aligncvc.scene.gaussians import SH_C0
from aligncvc.splat.harmonics import basis, colours_from


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_values_are_those_of_gsplat(degree: int) -> None:
    gsplat = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")
    random = torch.Generator().manual_seed(degree)
    means, centres = torch.randn(20, 3, generator=random), torch.randn(3, 3, generator=random) * 3
    coefficients = torch.randn(20, (degree + 1) ** 2, 3, generator=random)
    directions = means - centres[:, None]
    theirs = gsplat._spherical_harmonics(degree, directions, coefficients.expand(3, -1, -1, -1))
    torch.testing.assert_close(
        colours_from(coefficients, means, centres), (theirs + 0.5).clamp_min(0), atol=1e-5, rtol=1e-5
    )


def test_the_basis_is_orthonormal() -> None:
    """Over the sphere, by many random directions: the mean of b b^T is the identity over 4 pi."""
    random = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=random).double(), dim=1)
    values = basis(directions, 16)
    product = values.T @ values / len(values) * 4 * torch.pi
    assert float((product - torch.eye(16)).abs().max()) < 0.02


def test_degree_one_by_hand() -> None:
    """Red grows towards +z of the direction from the camera: brighter seen from below."""
    coefficients = torch.zeros(1, 4, 3)
    coefficients[0, 2, 0] = 0.5
    centres = torch.tensor([[0.0, 0, 3], [0, 0, -3]])
    above, below = colours_from(coefficients, torch.zeros(1, 3), centres)[:, 0]
    half = 0.5 * 0.4886025119029199
    torch.testing.assert_close(above, torch.tensor([0.5 - half, 0.5, 0.5]))
    torch.testing.assert_close(below, torch.tensor([0.5 + half, 0.5, 0.5]))
    assert float(basis(torch.tensor([0.0, 0, 1]), 1)) == pytest.approx(SH_C0)
