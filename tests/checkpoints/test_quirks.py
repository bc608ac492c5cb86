"""What checkpoints need: typed in the ledger, applied in one place, refused where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from aligncvc.config.align import AlignRun
from aligncvc.models.judge import load_judge
from aligncvc.models.ledger.quirks import BACKGROUND, MVG, RECON, Quirks
from safetensors.torch import save_file

from aligncvc.config.networks import Mvg, Recon
from aligncvc.config.sections import Config, parse_config
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.loop import rollout
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.ledger import settled
from aligncvc.models.ledger.facts import stamp
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.pair import attach_lora, load_pair, load_pretrained, lora_parameters
from aligncvc.models.reconstructors import build_reconstructor

TINY = {"down_channels": [8, 8], "down_attention": [False] * 2, "up_channels": [8], "up_attention": [False],
        "mid_attention": False, "head": "lgm"}  # fmt: skip


def config_with(weights: str | None, ledger: str = "config/checkpoints.yaml", **recon: object) -> Config:
    return parse_config({"recon": {"kind": "lgm-small", "weights": weights, **recon},
                         "checkpoints": {"ledger": ledger}}, "test")  # fmt: skip


@pytest.mark.parametrize(("weights", "expected"), [
    ("lgm-fixrot", (-1, "first-camera", 1.5, 49.1, None)),
    ("lgm-original", (1, "first-camera", 1.5, 49.1, None)),
    ("aligncvc-system", (-1, "y-up", 1.5, "cameras", 49.1)),
    ("demo-recon", (None,) * 5),
    (None, (None,) * 5),
])  # fmt: skip
def test_each_checkpoint_gets_what_it_was_trained_with(
    weights: str | None, expected: tuple[object, ...]
) -> None:
    recon = settled(config_with(weights)).recon
    assert tuple(getattr(recon, name) for name in RECON) == expected


def test_a_generator_gets_its_camera_table() -> None:
    config = parse_config(
        {"mvg": {"kind": "wonder3d-v1", "weights": "wonder3d-v1-unet", "vae_weights": None}}, "t"
    )
    mvg = settled(config, ["mvg"]).mvg
    assert (mvg.camera_type, mvg.camera_table, mvg.camera_dim) == ("orthographic", "wonder3d-v1", 10)
    wrong = config.model_copy(update={"mvg": mvg.model_copy(update={"weights": "wonder3d-plus-unet"})})
    with pytest.raises(UserError, match=r"wonder3d-plus-unet takes a camera vector of 14 numbers"):
        settled(wrong)


def test_what_the_user_sets_stays() -> None:
    """The paper's run trains LGM on at the cameras' own field of view, whatever the weights began with."""
    recon = settled(config_with("lgm-fixrot", ray_fov_y_deg="cameras", radius=2.0)).recon
    assert (recon.ray_fov_y_deg, recon.radius, recon.world) == ("cameras", 2.0, "first-camera")


def test_a_distilled_network_keeps_its_timesteps() -> None:
    config = config_with("aligncvc-system")
    assert settled(config).sample.timesteps[4] == [999, 749, 599, 299]
    even = config.model_copy(
        update={"sample": config.sample.model_copy(update={"timesteps": {4: [999, 749, 499, 249]}})}
    )
    with pytest.raises(
        UserError, match=r"aligncvc-system was trained at the timesteps \[999, 749, 599, 299\]"
    ):
        settled(even)


@pytest.fixture
def tiny_weights(tmp_path: Path):
    """A ledger with a tiny reconstructor's file; the argument is its quirks."""

    def write(quirks: dict[str, object], prefix: str = "") -> str:
        torch.manual_seed(1)
        state = build_reconstructor(Recon(**TINY)).state_dict()
        if "constants" in quirks:
            state["unet.position_ids"] = torch.arange(3)
        save_file({prefix + key: value for key, value in state.items()}, tmp_path / "tiny.safetensors")
        entry = {"what": "w", "source": f"file:{tmp_path / 'tiny.safetensors'}", "licence": "MIT",
                 "quirks": quirks, "sha256": sha256_file(tmp_path / "tiny.safetensors")}  # fmt: skip
        path = tmp_path / "ledger.yaml"
        path.write_text(yaml.safe_dump({"version": 1, "checkpoints": {"tiny": entry}}))
        return str(path)

    return write


def test_the_networks_are_built_by_the_quirks(tiny_weights) -> None:
    """Pair and judge alike: the head normalises as the file's first-release training did."""
    for dim in (1, -1):
        config = config_with("tiny", tiny_weights({"rot_norm_dim": dim, "world": "y-up"}), **TINY)
        assert load_judge(config).head.rot_norm_dim == dim
        assert load_judge(config).config.world == "y-up"
    with pytest.raises(UserError, match="no checkpoint 'demo-teacher'"):
        load_pretrained(config)
    config = config.model_copy(update={"mvg": Mvg(weights=None, vae_weights=None)})
    assert load_pretrained(config)[1].head.rot_norm_dim == -1


def test_the_judge_refuses_settings_that_its_file_was_not_made_with(tiny_weights, tmp_path: Path) -> None:
    """Shapes alone would not show it: the same weights in another head draw other Gaussians."""
    ledger = Path(tiny_weights({}))
    made = config_with(None, **TINY)
    file = tmp_path / "tiny.safetensors"
    stamp(file, made, "recon")
    entries = yaml.safe_load(ledger.read_text())
    entries["checkpoints"]["tiny"]["sha256"] = sha256_file(file)
    ledger.write_text(yaml.safe_dump(entries))
    assert isinstance(load_judge(config_with("tiny", str(ledger), **TINY)), torch.nn.Module)
    with pytest.raises(UserError, match=r"recon\.head lgm and the configuration says ray"):
        load_judge(config_with("tiny", str(ledger), **{**TINY, "head": "ray"}))


def test_a_bundled_run_is_built_by_its_own_reconstructors_quirks(tiny_weights, tmp_path: Path) -> None:
    """Not by those of the weights that it was trained from, and stored as its own entry says."""
    ledger = Path(tiny_weights({"rot_norm_dim": 1, "world": "y-up", "prefix": "geometry."}, "geometry."))
    base = config_with(None, str(ledger), **TINY).model_copy(
        update={"mvg": Mvg(weights=None, vae_weights=None)}
    )
    generator, _ = load_pretrained(base)
    lora = attach_lora(generator, base.align.lora_rank, 0)
    save_file({k: torch.full_like(v, 0.5) for k, v in lora.items()}, tmp_path / "student.safetensors")
    entries = yaml.safe_load(ledger.read_text())
    entries["checkpoints"]["student"] = {
        "what": "w", "source": f"file:{tmp_path / 'student.safetensors'}", "licence": "MIT",
        "sha256": sha256_file(tmp_path / "student.safetensors"),
    }  # fmt: skip
    ledger.write_text(yaml.safe_dump(entries))
    run = AlignRun.model_validate({"weights": {"student": "student", "recon": "tiny"}})
    config = base.model_copy(update={"align": base.align.model_copy(update={"runs": {"ready": run}})})
    generator, reconstructor = load_pair(config, "ready")
    assert (reconstructor.head.rot_norm_dim, reconstructor.config.world) == (1, "y-up")
    torch.manual_seed(1)
    written = build_reconstructor(Recon(**TINY)).state_dict()
    assert all(torch.equal(value, written[key]) for key, value in reconstructor.state_dict().items())
    assert all(bool((value == 0.5).all()) for value in lora_parameters(generator).values())


def test_a_part_of_a_file_and_old_names_load(tiny_weights) -> None:
    quirks = {"prefix": "geometry.old.", "renames": {"oldname": "old"}}
    ledger = tiny_weights({**quirks, "constants": ["position_ids"]}, "geometry.oldname.")
    loaded = load_judge(config_with("tiny", ledger, **TINY))
    torch.manual_seed(1)
    for a, b in zip(loaded.parameters(), build_reconstructor(Recon(**TINY)).parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_image_tower_of_a_pair_loads(tmp_path: Path) -> None:
    """As transformers stores CLIP's tower, with the constant that its older releases wrote."""
    clip = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "patch_size": 16, "image_size": 32, "projection_dim": 16}  # fmt: skip
    tower = ClipImageEncoder(**clip).tower
    state = {k: torch.full_like(v, 0.25) for k, v in tower.state_dict().items()}
    constant = {"vision_model.embeddings.position_ids": torch.arange(5)}
    torch.save(state | constant, tmp_path / "tower.bin")
    quirks, sha256 = {"constants": ["position_ids"]}, sha256_file(tmp_path / "tower.bin")
    entry = {"what": "w", "source": f"file:{tmp_path / 'tower.bin'}", "licence": "MIT", "quirks": quirks,
             "sha256": sha256}  # fmt: skip
    (tmp_path / "l.yaml").write_text(yaml.safe_dump({"version": 1, "checkpoints": {"tower": entry}}))
    mvg = {"weights": None, "vae_weights": None, "image_encoder": "clip", "clip": clip,
           "image_encoder_weights": "tower"}  # fmt: skip
    data = {
        "mvg": mvg,
        "recon": {"weights": None, **TINY},
        "checkpoints": {"ledger": str(tmp_path / "l.yaml")},
    }
    generator, _ = load_pretrained(parse_config(data, "test"))
    assert all(bool((v == 0.25).all()) for v in generator.image_encoder.tower.state_dict().values())
    lite = parse_config(data | {"mvg": {**mvg, "image_encoder": "lite0"}}, "test")
    with pytest.raises(UserError, match="has no separate image_encoder; set its weights id to null"):
        load_pretrained(lite)


def test_another_background_is_refused(tiny_weights) -> None:
    with pytest.raises(UserError, match=r"background of grey 0.7 and every stage here draws on white"):
        settled(config_with("tiny", tiny_weights({"background": 0.7}), **TINY))
    assert BACKGROUND == rollout.BACKGROUND


def test_a_misspelt_quirk_is_refused(tiny_weights) -> None:
    with pytest.raises(UserError, match=r"checkpoints.tiny.quirks.rot_norm"):
        load_ledger(tiny_weights({"rot_norm": 1}))


def test_every_quirk_is_applied_checked_or_read() -> None:
    """A new quirk that nothing looks at would be a promise that nobody keeps."""
    assert set(RECON) <= set(Recon.model_fields)
    assert set(MVG) <= set(Mvg.model_fields)
    others = {"camera_dim", "background", "timesteps", "prefix", "constants", "renames", "vision"}
    assert set(Quirks.model_fields) == {*RECON, *MVG, *others}
