"""What a weight file says about its network: written, read back, refused where it differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from aligncvc.errors import UserError
from aligncvc.models.kinds import Role, complete
from aligncvc.models.ledger.weights import NETWORK, check_network, network_facts, read_facts, write_facts
from aligncvc.models.specs import ModelSpec


def spec(role: Role, **network: Any) -> ModelSpec:
    kind, settings = complete(
        role, {"kind": "lgm" if role == "reconstructors" else "wonder3d", **network}, "t"
    )
    return ModelSpec(kind=kind, network=settings)


OTHERS: list[tuple[Role, dict[str, Any]]] = [
    ("generators", {"vae": {"norm_groups": 4}}),
    ("generators", {"unet": {"head_channels": 16}}),
    ("generators", {"unet": {"prediction": "epsilon"}}),
    ("generators", {"camera_type": "orthographic"}),
    ("generators", {"camera_table": "wonder3d-v1"}),
    ("reconstructors", {"heads": 4}),
    ("reconstructors", {"rot_norm_dim": 1}),
    ("reconstructors", {"world": "y-up"}),
    ("reconstructors", {"ray_fov_y_deg": 49.1}),
    ("reconstructors", {"norm_groups": 8}),
]
"""Settings that no tensor's shape shows."""


@pytest.mark.parametrize(("role", "changed"), OTHERS)
def test_other_settings_of_the_same_shape_are_refused(
    tmp_path: Path, role: Role, changed: dict[str, Any]
) -> None:
    path = tmp_path / "w.safetensors"
    write_facts(path, {"a": torch.arange(6.0).view(2, 3)}, {NETWORK: network_facts(spec(role)), "steps": 7})
    check_network(path, spec(role))
    with pytest.raises(UserError, match=f"whose {next(iter(changed))} is") as caught:
        check_network(path, spec(role, **changed))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert torch.equal(load_file(path)["a"], torch.arange(6.0).view(2, 3))
    assert read_facts(path)["steps"] == 7


def test_files_without_facts_and_of_other_formats_are_left_to_their_readers(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    (tmp_path / "text.bin").write_text("not weights at all")
    (tmp_path / "empty").touch()
    for name in ("bare.safetensors", "text.bin", "empty", "missing"):
        assert read_facts(tmp_path / name) == {}
        check_network(tmp_path / name, spec("generators"))
