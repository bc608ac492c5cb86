"""What holds for every kind of reconstructor, at its tiny size: a new folder is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_networks import RECONSTRUCTORS, SIZE_PX, tiny_reconstructor
from torch import Tensor, nn

from aligncvc.models.reconstructors.base import At, checkpoint_gradients
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import batched
from aligncvc.splat import rasterise

VIEWS = 4


@pytest.fixture(params=RECONSTRUCTORS)
def reconstructor(request: pytest.FixtureRequest) -> Any:
    return tiny_reconstructor(request.param)


def posed(batch: int = 2) -> tuple[Tensor, Cameras]:
    images = torch.rand(batch, VIEWS, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1))
    one = orbit(ring_azimuths_deg(VIEWS), 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    return images, batched([one] * batch)


def test_gaussians_are_valid_and_can_be_drawn(reconstructor: Any) -> None:
    images, cameras = posed()
    found: Gaussians = reconstructor(images, cameras)
    assert len(found.means) == 2 and bool((found.scales > 0).all())
    for share in (found.opacities, found.colors):
        assert float(share.detach().min()) >= 0 and float(share.detach().max()) <= 1
    assert rasterise(found, cameras).rgb.shape == (2, VIEWS, 3, SIZE_PX, SIZE_PX)


def test_objects_are_apart(reconstructor: Any) -> None:
    images, cameras = posed()
    both, second = reconstructor(images, cameras), reconstructor(images[1:], batched([cameras_of(cameras)]))
    torch.testing.assert_close(
        rasterise(both, cameras).rgb[1:], rasterise(second, batched([cameras_of(cameras)])).rgb,
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


def cameras_of(cameras: Cameras) -> Cameras:
    """Those of the second object."""
    return replace(cameras, c2w=cameras.c2w[1])


def test_two_runs_are_equal(reconstructor: Any) -> None:
    images, cameras = posed()
    first, second = (reconstructor(images, cameras) for _ in range(2))
    assert torch.equal(first.means, second.means) and torch.equal(first.colors, second.colors)


def test_gradient_reaches_views_and_weights(reconstructor: Any) -> None:
    images, cameras = posed()
    images.requires_grad_(True)
    rasterise(reconstructor(images, cameras), cameras).rgb.square().mean().backward()
    assert images.grad is not None and float(images.grad.abs().max()) > 0
    trained = [p for p in reconstructor.parameters() if p.grad is not None]
    assert trained and all(bool(p.grad.isfinite().all()) for p in trained)


def test_what_it_is_told_of_sampling_counts_if_it_sees_that_and_only_then(reconstructor: Any) -> None:
    for name, parameter in reconstructor.named_parameters():  # what starts at zero must count too
        if float(parameter.detach().abs().max()) == 0:
            nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(len(name)))
    images, cameras = posed()
    sees = getattr(reconstructor, "sees", "views")
    at = At(torch.tensor([500, 500]), images.flip(0), images[:, 0].flip(-1))
    before = reconstructor(images, cameras, at=at)
    assert len(before.means) == 2
    changes = {"timesteps": torch.tensor([20, 500]), "noisy": images, "image": images[:, 1]}
    counted = {"views": set(), "time": {"timesteps"}, "noisy": set(changes)}[sees]
    for name, value in changes.items():
        after = reconstructor(images, cameras, at=replace(at, **{name: value}))
        assert torch.equal(before.colors[0], after.colors[0]) is (name not in counted), name
        if name == "timesteps":  # the second object's is the same
            torch.testing.assert_close(before.colors[1], after.colors[1], rtol=1e-4, atol=1e-5)


def test_views_of_no_generator_are_clean_and_the_first_is_the_image(reconstructor: Any) -> None:
    images, cameras = posed()
    none, clean = At(torch.zeros(2), images, images[:, 0]), At(torch.zeros(2))
    for at in (none, clean):
        torch.testing.assert_close(
            vars(reconstructor(images, cameras)), vars(reconstructor(images, cameras, at=at))
        )


def test_gradient_checkpointing_changes_nothing(reconstructor: Any) -> None:
    def gradient() -> Tensor:
        images, cameras = posed()
        images.requires_grad_(True)
        rasterise(reconstructor(images, cameras), cameras).rgb.square().mean().backward()
        assert images.grad is not None
        return images.grad

    plain = gradient()
    checkpoint_gradients(reconstructor)
    torch.testing.assert_close(gradient(), plain, rtol=1e-3, atol=1e-7)
