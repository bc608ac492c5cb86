"""DISK and LightGlue: names of weights, sentences; where the extra is installed, what they find."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.encoders.disk_lightglue import (
    MOST_KEYPOINTS,
    DiskLightGlue,
    convert_state,
    load_disk_lightglue,
    unavailable,
)
from aligncvc.models.ledger.weights import read_state


@pytest.fixture(scope="module")
def network() -> DiskLightGlue:
    if why := unavailable():
        pytest.skip(f"it comes with the extra lightglue: {why}")
    return load_disk_lightglue()


def cat(left: int, top: int, size: int = 256) -> Tensor:
    """(4, size, size): a window of a photograph, opaque off the border."""
    image = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1).float() / 255
    window = image[:, top : top + size, left : left + size]
    alpha = torch.zeros(1, size, size)
    alpha[:, 16:-16, 16:-16] = 1
    return torch.cat([window, alpha])


def test_names_of_the_published_file_become_those_of_the_class() -> None:
    names = "self_attn.3.Wqkv.weight", "cross_attn.0.ffn.1.bias", "log_assignment.2.r", "posenc.Wr.weight"
    wanted = [
        "transformers.3.self_attn.Wqkv.weight",
        "transformers.0.cross_attn.ffn.1.bias",
        "posenc.Wr.weight",
    ]
    assert list(convert_state({name: torch.zeros(1) for name in names})) == wanted


def test_tensors_are_read_from_inside_the_file_of_disk(tmp_path: Path) -> None:
    torch.save({"extractor": {"unet.weight": torch.ones(2)}}, tmp_path / "disk.pth")
    assert {k: v.tolist() for k, v in read_state(tmp_path / "disk.pth").items()} == {"unet.weight": [1, 1]}


def test_without_kornia_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.feature", None)
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(UserError, match=r"need the package kornia, .* envs/lightglue\.txt"):
        DiskLightGlue()


def test_the_networks_are_the_published_ones(
    network: DiskLightGlue, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [sum(p.numel() for p in part.parameters()) for part in (network.disk, network.lightglue)]
    assert sizes == [1_092_369, 11_884_625]  # the file has nine more, which no layer reads
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    DiskLightGlue()
    assert capsys.readouterr().out == ""


def test_it_finds_the_shift_of_a_photograph(network: DiskLightGlue) -> None:
    one, other = (network.keypoints(cat(*place), 1.0) for place in ((100, 20), (90, 27)))
    p, q = network.match(one, other)
    assert len(p) == len(q) > 100 and p.dtype == np.float64
    assert (np.abs(q - p - [10, -7]).max(1) <= 1).mean() > 0.95
    again = network.match(one, other)
    assert np.array_equal(p, again[0]) and np.array_equal(q, again[1])


def test_positions_are_those_of_the_resized_image(network: DiskLightGlue) -> None:
    large = F.interpolate(cat(100, 20)[None], scale_factor=2, mode="bicubic").clamp(0, 1)[0]
    one, halved = network.keypoints(cat(100, 20), 1.0), network.keypoints(large, 0.5)
    assert halved.size.tolist() == [256, 256] and (one.points % 1 == 0.5).all()
    p, q = network.match(one, halved)
    assert len(p) > 100 and np.abs(np.median(q - p, 0)).max() <= 0.5


def test_keypoints_lie_on_the_foreground_and_are_the_strongest(network: DiskLightGlue) -> None:
    found = network.keypoints(cat(100, 20), 1.0)
    assert 100 < len(found.points) <= MOST_KEYPOINTS
    assert found.points.min() > 16 and found.points.max() < 240
    hidden = cat(100, 20)
    hidden[3] = 0
    nothing = network.keypoints(hidden, 1.0)
    assert nothing.points.shape == (0, 2)
    assert [len(x) for x in network.match(nothing, found)] == [0, 0]


def test_no_point_is_pruned(network: DiskLightGlue, monkeypatch: pytest.MonkeyPatch) -> None:
    """kornia 0.8.3 cannot match what is left if nothing is."""
    one, other = (network.keypoints(cat(*place), 1.0) for place in ((100, 20), (90, 27)))
    before = len(network.match(one, other)[0])
    monkeypatch.setattr(
        network.lightglue, "get_pruning_mask", lambda confidences, scores, layer: torch.zeros_like(scores) > 0
    )
    assert len(network.match(one, other)[0]) == before > 100
