"""DISTS gives the numbers that torchmetrics documents and computes, with our trunk, without torchvision."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import dists as reference

from aligncvc.errors import UserError
from aligncvc.models.encoders.dists import Dists, load_dists
from aligncvc.models.encoders.lpips import _vgg16, fill_trunk
from aligncvc.models.ledger.resolve import resolve


@pytest.fixture(scope="module")
def model() -> Dists:
    return load_dists()


def smooth(seed: int, size: int) -> Tensor:
    """(3, 3, size, size) random images with structure at several scales."""
    coarse = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


def test_documented_values_of_torchmetrics(model: Dists) -> None:
    torch.manual_seed(42)  # as its doctests do
    preds, target = torch.rand(5, 3, 256, 256), torch.rand(5, 3, 256, 256)
    found = model(preds[:2], target[:2])
    assert found.tolist() == pytest.approx([0.1285, 0.1344], abs=5e-5)


@pytest.mark.parametrize("size", [64, 96])
def test_agreement_with_torchmetrics_code(model: Dists, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def vgg16(weights: object) -> SimpleNamespace:
        trunk = _vgg16()
        fill_trunk(trunk.features, "vgg")
        return trunk

    monkeypatch.setattr(reference, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(reference, "vgg16", vgg16, raising=False)
    monkeypatch.setattr(reference, "VGG16_Weights", SimpleNamespace(DEFAULT=None), raising=False)
    a, b = smooth(0, size), smooth(1, size)
    expected = reference.deep_image_structure_and_texture_similarity(a, b).detach()
    assert float(expected.min()) > 0.05, "the images differ"
    assert model(a, b).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_identity_symmetry_and_batches(model: Dists) -> None:
    a, b = smooth(2, 64), smooth(3, 64)
    assert model(a, a).tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert model(a, b).tolist() == pytest.approx(model(b, a).tolist(), abs=1e-6)
    assert model(a, b)[1:2].tolist() == pytest.approx(model(a[1:2], b[1:2]).tolist(), abs=1e-6)


def test_texture_drawn_anew_costs_less_than_blur(model: Dists) -> None:
    # The point of DISTS: two samples of one texture are alike, although their pixels are not.
    noise = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    one, other = noise[:1], noise[1:]
    blurred = nn.functional.avg_pool2d(one, 5, 1, 2, count_include_pad=False)
    assert (one - blurred).square().mean() < (one - other).square().mean()
    assert float(model(one, other)) < float(model(one, blurred))


def test_frozen_and_differentiable(model: Dists) -> None:
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    image = smooth(6, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(model(image, smooth(7, 64)).sum(), image)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_channel_weights_are_the_published_ones(model: Dists) -> None:
    state = torch.load(resolve("dists-weights"), weights_only=True)
    assert torch.equal(model.alpha, state["alpha"]) and torch.equal(model.beta, state["beta"])
    assert float(model.alpha.sum() + model.beta.sum()) == pytest.approx(1, abs=1e-4)


def test_a_trunk_of_another_depth_is_refused() -> None:
    with pytest.raises(UserError, match="13 convolutions, the network to fill 1"):
        fill_trunk(nn.Sequential(nn.Conv2d(3, 64, 3)), "vgg")
