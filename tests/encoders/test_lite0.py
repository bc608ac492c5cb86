"""EfficientNet-Lite0 against known facts: layout, what it sees, where gradients go."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from aligncvc.models.encoders.lite0 import FEATURE_CHANNELS, Lite0, SameConv2d, load_lite0


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return load_lite0()


def centre_crop(name: str, size: int = 224) -> Tensor:
    """A scikit-image picture, cropped to its centre square, as (1, 3, size, size)."""
    image = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[-2:])
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    square = image[..., top : top + side, left : left + side]
    return F.interpolate(square, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)


def test_layout_is_the_published_one(lite0: Lite0) -> None:
    state = lite0.state_dict()
    assert len(state) == 296
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008


@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)])  # Egyptian cat, espresso
def test_it_recognises_pictures(lite0: Lite0, name: str, label: int) -> None:
    assert int(lite0(centre_crop(name)).argmax()) == label


@pytest.mark.parametrize("size", [64, 96])
def test_feature_shapes(lite0: Lite0, size: int) -> None:
    images = torch.rand(2, 3, size, size)
    shapes = [tuple(f.shape) for f in lite0.features(images)]
    assert shapes == [
        (2, c, size // s, size // s) for c, s in zip(FEATURE_CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]
    assert lite0.embed(images).shape == (2, 1280)


def test_gradient_reaches_the_image_and_no_parameter(lite0: Lite0) -> None:
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    for level in range(5):
        (gradient,) = torch.autograd.grad(lite0.features(images)[level].square().mean(), images)
        assert gradient.abs().max() > 0 and torch.isfinite(gradient).all()
    assert not any(p.requires_grad for p in lite0.parameters())


def test_it_stays_frozen_inside_a_module_in_training(lite0: Lite0) -> None:
    outer = nn.Sequential(lite0, nn.Dropout()).train()
    before = {k: v.clone() for k, v in lite0.state_dict().items()}
    images = torch.rand(2, 3, 64, 64)
    first, second = lite0.embed(images), lite0.embed(images)
    assert outer.training and not any(m.training for m in lite0.modules())
    assert torch.equal(first, second)
    assert all(torch.equal(v, before[k]) for k, v in lite0.state_dict().items())


def test_same_padding_puts_the_odd_pixel_last() -> None:
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    # Even input, stride 2: one pixel of padding in all, at the end, so the first window is unpadded.
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]
    # Odd input: symmetric padding.
    assert conv(torch.ones(1, 1, 5, 5))[0, 0, 0].tolist() == [4, 6, 4]
    assert conv(torch.ones(1, 1, 5, 4))[0, 0, 0].tolist() == [6, 4]
