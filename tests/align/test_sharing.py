"""How networks are cut into units, and what a launcher may ask for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import Accelerator
from tiny_world import tiny_pair
from torch import nn

from aligncvc.align.sharing import Sharing, clip, units
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.models.pair import load_pretrained

PROFILE = PROJECT_ROOT / "profiles/accelerate/fsdp.yaml"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment that `accelerate launch` makes of the profile."""
    settings = yaml.safe_load(PROFILE.read_text())
    assert settings["distributed_type"] == "FSDP"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    for name, value in settings["fsdp_config"].items():
        monkeypatch.setenv(name.upper(), str(value).lower() if isinstance(value, bool) else str(value))
    return monkeypatch


NOBODY = SimpleNamespace(state=SimpleNamespace())


def test_the_profile_is_what_the_code_can_do(launched: pytest.MonkeyPatch) -> None:
    least = yaml.safe_load(PROFILE.read_text())["fsdp_config"]["fsdp_min_num_params"]
    assert Sharing.launched(NOBODY) == Sharing(least=least, reshard=True)
    launched.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    assert Sharing.launched(NOBODY) == Sharing(least=least, reshard=False)
    launched.setenv("ACCELERATE_USE_FSDP", "false")
    assert Sharing.launched(NOBODY) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "asks for DeepSpeed"),
        ({"FSDP_VERSION": "1", "FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD"}, "asks for FSDP1"),
        ({"FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}, "no SIZE_BASED_WRAP"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "offloading"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "activation checkpointing"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    launched: pytest.MonkeyPatch, changes: dict[str, str], sentence: str
) -> None:
    for name, value in changes.items():
        launched.setenv(name, value)
    with pytest.raises(UserError, match=sentence) as caught:
        Sharing.launched(NOBODY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("most", [300, 3_000, 64_000_000])
def test_units_are_called_lie_beside_each_other_and_keep_to_their_sizes(most: int) -> None:
    pair = load_pretrained(tiny_pair())
    for network in (*pair.generator.parts().values(), pair.reconstructor):
        found = units(network, 50, most)
        inside = [id(p) for unit in found for p in unit.parameters()]
        assert len(inside) == len(set(inside))
        assert network not in found and not any(isinstance(unit, nn.ModuleList) for unit in found)
        for unit in found:
            assert 50 <= sum(p.numel() for p in unit.parameters()) <= most


def test_units_hold_nearly_all_of_a_network() -> None:
    pair = load_pretrained(tiny_pair())
    for network in (*pair.generator.parts().values(), pair.reconstructor):
        inside = sum(p.numel() for unit in units(network, 50) for p in unit.parameters())
        assert inside > 0.95 * sum(p.numel() for p in network.parameters())


def test_gradients_are_clipped_as_torch_clips_them() -> None:
    random = torch.Generator().manual_seed(0)
    for size in (0.1, 10.0):
        ours, theirs = ([nn.Parameter(torch.zeros(5, 3)), nn.Parameter(torch.zeros(4))] for _ in range(2))
        for a, b in zip(ours, theirs, strict=True):
            a.grad = size * torch.randn(a.shape, generator=random)
            b.grad = a.grad.clone()
        norm = clip(ours, Accelerator(cpu=True), 1.0)
        assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(theirs, 1.0)))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.grad, b.grad)
