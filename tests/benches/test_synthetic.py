"""Scenes without data: a ring that holds the rig, and the kernel's gradients on a small cloud."""

from __future__ import annotations

import pytest
import torch

from aligncvc.bench.rasteriser import gradient_error
from aligncvc.bench.synthetic import OBJECT, cameras_at, random_gaussians, synthetic_renders
from aligncvc.scene.cameras import relative_c2w


@pytest.mark.parametrize(("azimuths", "ring"), [([0.0, 90.0, 180.0, 270.0], 8), ([0.0, 30.0, 210.0], 12)])
def test_the_rig_is_found_in_the_ring(azimuths: list[float], ring: int) -> None:
    with synthetic_renders(azimuths, 32) as renders:
        posed = renders.load(OBJECT)
    assert len(posed.views) == ring and len(posed.between) == ring - len(azimuths)
    images, cameras = posed.rig_from(0)
    wanted = cameras_at(azimuths, 32)
    torch.testing.assert_close(cameras.c2w, relative_c2w(wanted.c2w, wanted.c2w[0]))
    assert 0.05 < float(posed.views.alpha.mean()) < 0.9 and images.shape == (len(azimuths), 3, 32, 32)


def test_the_cloud_is_the_same_every_time_and_in_every_precision() -> None:
    single, double = random_gaussians(50), random_gaussians(50, dtype=torch.float64)
    assert torch.equal(single.means, double.means.float()) and single.means.requires_grad
    assert random_gaussians(7, batch=3).scales.shape == (3, 7, 3)
    assert float(single.means.detach().norm(dim=-1).max()) <= 0.8


def test_the_kernels_gradients_are_the_oracles() -> None:
    assert gradient_error(64) < 1e-5
