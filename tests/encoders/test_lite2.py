"""EfficientNet-Lite2: its layout, and, where the extra is installed, what its weights see."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from skimage import data

from aligncvc.models.encoders.lite2 import Lite2, load_lite2
from aligncvc.models.ledger.resolve import missing


def test_layout_is_the_published_one() -> None:
    network = Lite2()
    assert len(network.state_dict()) == 386
    assert sum(p.numel() for p in network.parameters()) == 6_092_072
    images = torch.rand(2, 3, 64, 64)
    assert [f.shape[1] for f in network.features(images)] == [level.channels for level in network.levels]
    assert network.embed(images).shape == (2, 1280)


@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)])  # Egyptian cat, espresso
def test_it_recognises_pictures(name: str, label: int) -> None:
    if why := missing("lite2"):
        pytest.skip(f"its weights come with the extra lite2: {why}")
    image = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[-2:])
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    square = image[..., top : top + side, left : left + side]
    picture = F.interpolate(square, size=(260, 260), mode="bicubic", antialias=True).clamp(0, 1)
    assert int(load_lite2()(picture).argmax()) == label
