"""The network of FID: its size, its tensors' names, its two peculiarities, and loading all or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.models.encoders.inception import FidInception, convert_state, load_fid_inception
from aligncvc.models.ledger.resolve import missing
from aligncvc.models.specs import CheckpointAccess


@pytest.fixture(scope="module")
def model() -> FidInception:
    torch.manual_seed(0)
    return FidInception()


def published(model: FidInception) -> dict[str, Tensor]:
    """A state dict as the published file holds it: with a classifier, without counters."""
    kept = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    return kept | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def access_to(folder: Path, file: Path) -> CheckpointAccess:
    """A ledger in the folder that names the file."""
    entry = {
        "what": "random",
        "source": f"file:{file}",
        "sha256": sha256_file(file),
        "bytes": file.stat().st_size,
        "licence": "MIT",
    }
    path = folder / "ledger.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "checkpoints": {"fid-inception": entry}}), encoding="utf-8")
    return CheckpointAccess(ledger=str(path))


def test_parameters_and_names_are_those_of_the_published_network(model: FidInception) -> None:
    # 23,834,568 parameters of Inception v3 without auxiliary head, less its classifier of 2048 x 1000 + 1000.
    assert sum(p.numel() for p in model.parameters()) == 23_834_568 - 2_049_000
    state = model.state_dict()
    assert state["Mixed_6e.branch7x7dbl_3.conv.weight"].shape == (192, 192, 1, 7)
    assert state["Mixed_7c.branch3x3dbl_3b.bn.running_var"].shape == (384,)
    assert state["Conv2d_3b_1x1.conv.weight"].shape == (80, 64, 1, 1)
    assert sum(key.endswith("conv.weight") for key in state) == 94


def test_features_and_resizing(model: FidInception) -> None:
    images = torch.rand(2, 3, 48, 48)
    features = model.embed(images)
    assert features.shape == (2, 2048) and features.dtype == torch.float64
    enlarged = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
    assert torch.equal(model.embed(enlarged), features)
    assert torch.equal(model.embed(images[None])[0], features)
    model.train()
    assert not model.training and not model.Mixed_5b.training


def test_average_pools_leave_padding_out_and_the_last_block_pools_by_maximum(model: FidInception) -> None:
    x = torch.ones(1, 2048, 8, 8)
    x[..., 3, 3] = 5
    for name, expected in (
        ("Mixed_7b", F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        ("Mixed_7c", F.max_pool2d(x, 3, 1, 1)),
    ):
        block = model.get_submodule(name)
        channels = block.get_submodule("branch_pool").conv.in_channels
        found = block(x[:, :channels])[:, -192:]
        assert torch.allclose(found, block.get_submodule("branch_pool")(expected[:, :channels]), atol=1e-5)


def test_the_published_layout_loads_completely_or_not_at_all(model: FidInception, tmp_path: Path) -> None:
    state = published(model)
    torch.save(state, tmp_path / "inception.pth")
    access = access_to(tmp_path, tmp_path / "inception.pth")
    assert missing("fid-inception", access) is None
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_fid_inception(access).embed(image), model.embed(image))
    del state["Mixed_7c.branch1x1.bn.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(UserError, match=r"1 missing: Mixed_7c\.branch1x1\.bn\.bias"):
        load_fid_inception(access_to(tmp_path, tmp_path / "short.pth"))
    assert "fc.bias" not in convert_state(published(model), model)
