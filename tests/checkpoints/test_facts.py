"""What a weight file says about its network: written, read back, refused where it differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from aligncvc.config.sections import Config, parse_config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.models.ledger.facts import (
    LATER,
    check_settings,
    network_settings,
    read_facts,
    stamp,
    write_facts,
)

OTHER = {
    "vae": ({"mvg": {"vae": {"norm_groups": 4}}}, "mvg.vae.norm_groups 8 and the configuration says 4"),
    "unet": ({"mvg": {"unet": {"head_channels": 16}}}, "mvg.unet.head_channels 64"),
    "student": ({"mvg": {"unet": {"prediction": "epsilon"}}}, "mvg.unet.prediction v_prediction"),
    "recon": ({"recon": {"heads": 4}}, "recon.heads 2"),
    "image_encoder": ({"mvg": {"clip": {"num_attention_heads": 8}}}, "num_attention_heads 16"),
}
LATER_KEYS = {
    "unet": [
        {"mvg": {"unet": {"heads": 4}}}, {"mvg": {"domains": "both"}},
        {"mvg": {"colours_alone": "view_pairs"}}, {"mvg": {"camera_type": "orthographic"}},
        {"mvg": {"camera_table": "wonder3d-v1"}},
    ],
    "recon": [
        {"recon": {"rot_norm_dim": 1}}, {"recon": {"world": "y-up"}}, {"recon": {"radius": 1.5}},
        {"recon": {"ray_fov_y_deg": 49.1}}, {"recon": {"projection_fov_y_deg": 49.1}},
    ],
}  # fmt: skip
"""One change of each key that settings did not have from the start."""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file as older versions wrote it: facts, but no settings."""
    path = tmp_path / "old.safetensors"
    write_facts(path, {"a": torch.arange(6.0).view(2, 3)}, {"network": "LGM", "steps": 7})
    return path


@pytest.mark.parametrize("part", list(OTHER))
def test_other_settings_of_the_same_shape_are_refused(plain: Path, part: str) -> None:
    data, words = OTHER[part]
    other = parse_config(data, "other")
    check_settings(plain, other, part)  # says nothing about itself
    stamp(plain, Config(), part)
    check_settings(plain, Config(), part)
    with pytest.raises(UserError, match=words) as caught:
        check_settings(plain, other, part)
    assert "\n" not in str(caught.value) and str(plain) in str(caught.value)
    with pytest.raises(UserError, match=words):
        stamp(plain, other, part)


@pytest.mark.parametrize("part", list(LATER_KEYS))
def test_files_stamped_before_a_key_was_there_hold_its_first_value(tmp_path: Path, part: str) -> None:
    path = tmp_path / "earlier.safetensors"
    settings = {k: v for k, v in network_settings(Config(), part).items() if k not in LATER}
    assert len(settings) + len(LATER_KEYS[part]) == len(network_settings(Config(), part))
    write_facts(path, {"a": torch.zeros(1)}, {"settings": settings})
    check_settings(path, Config(), part)
    for data in LATER_KEYS[part]:
        ((section, changed),) = data.items()
        with pytest.raises(UserError, match=f"made with {section}.*the configuration says"):
            check_settings(path, parse_config({section: changed}, "other"), part)


def test_nulls_and_the_defaults_they_stand_for_are_the_same() -> None:
    named = {
        "mvg": {"camera_type": "perspective", "camera_table": "computed"},
        "recon": {"rot_norm_dim": -1, "world": "ours", "ray_fov_y_deg": "cameras"},
    }
    for part in ("unet", "recon"):
        assert network_settings(parse_config(named, "named"), part) == network_settings(Config(), part)


def test_stamp_keeps_tensors_and_facts(plain: Path) -> None:
    facts = stamp(plain, Config(), "recon")
    wanted = {"network": "LGM", "steps": 7, "settings": network_settings(Config(), "recon")}
    assert facts == read_facts(plain) == wanted
    assert torch.equal(load_file(plain)["a"], torch.arange(6.0).view(2, 3))
    stamp(plain, Config(), "recon", half=True)
    assert load_file(plain)["a"].dtype == torch.float16 and read_facts(plain) == wanted


def test_files_without_facts_and_of_other_formats_are_left_to_their_readers(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    (tmp_path / "text.bin").write_text("not weights at all")
    (tmp_path / "empty").touch()
    for name in ("bare.safetensors", "text.bin", "empty", "missing"):
        assert read_facts(tmp_path / name) == {}
        check_settings(tmp_path / name, Config(), "unet")


def test_command_stamps_a_file(plain: Path) -> None:
    command = [sys.executable, "-m", "aligncvc.checkpoints", "stamp", str(plain), "--part", "vae"]
    done = subprocess.run(command, cwd=PROJECT_ROOT / "src", text=True, capture_output=True, check=True)
    assert "mvg.vae.norm_groups" in done.stdout
    assert read_facts(plain)["settings"] == network_settings(Config(), "vae")
