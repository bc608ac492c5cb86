"""Pairs from the ledger: the network that an entry names is the network that is built, and weights load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from aligncvc.config.plan import Plan
from aligncvc.config.root import Config, parse_config
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.kinds import complete
from aligncvc.models.ledger.ledger import DEFAULT_LEDGER, load_ledger
from aligncvc.models.ledger.weights import NETWORK, network_facts, write_facts
from aligncvc.models.pair import (
    Aligned,
    attach_lora,
    build_reconstructor,
    load_pair,
    load_pretrained,
    load_reconstructor,
    lora_parameters,
)
from aligncvc.models.specs import CheckpointAccess, ModelSpec

TINY: dict[str, Any] = {
    "kind": "lgm", "down_channels": [8, 8], "down_attention": [False] * 2, "up_channels": [8],
    "up_attention": [False], "mid_attention": False, "head": "lgm",
}  # fmt: skip


def recon_spec(**changed: Any) -> ModelSpec:
    kind, network = complete("reconstructors", {**TINY, **changed}, "test")
    return ModelSpec(kind=kind, network=network)


def with_file(spec: ModelSpec) -> ModelSpec:
    """The same network with the ledger's entry `tiny` as its weights."""
    return spec.model_copy(update={"weights": {"recon": "tiny"}})


def tiny_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_reconstructor(recon_spec()).state_dict()


class Files:
    """A ledger in a temporary folder that grows: an entry and, where asked, a model a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, {"version": 1, "checkpoints": {}, "models": {}}
        demo = yaml.safe_load(DEFAULT_LEDGER.read_text())
        self.data["checkpoints"] = {
            name: entry
            for name, entry in demo["checkpoints"].items()
            if entry["source"].startswith("package")
        }

    def add(self, name: str, path: Path, role: str = "", network: dict[str, Any] | None = None, **keys: Any):
        entry = {"what": "w", "source": f"file:{path}", "licence": "MIT", "sha256": sha256_file(path), **keys}
        self.data["checkpoints"][name] = entry
        if role:
            part = "recon" if role == "reconstructors" else "unet"
            self.data["models"][f"{name}-model"] = {
                "what": "w", "role": role, "network": network, "weights": {part: name},
            }  # fmt: skip
        self.path.write_text(yaml.safe_dump(self.data))

    @property
    def path(self) -> Path:
        return self.folder / "ledger.yaml"

    @property
    def access(self) -> CheckpointAccess:
        return CheckpointAccess(ledger=str(self.path))

    def config(self, pair: dict[str, Any], **more: Any) -> Config:
        whole = {
            "pairs": {"p": pair},
            "checkpoints": {"ledger": str(self.path)},
            "align": {"runs": {"r": {}}},
        }
        return parse_config({**whole, "sample": {"methods": {"m": {"run": "r"}}}, **more}, "test")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(("name", "expected"), [
    ("lgm-big", (-1, "first-camera", 1.5, 49.1, None)),
    ("lgm-big-original", (1, "first-camera", 1.5, 49.1, None)),
    ("lgm-aligncvc", (-1, "y-up", 1.5, "cameras", 49.1)),
    ("demo-lgm", (-1, "ours", None, "cameras", None)),
])  # fmt: skip
def test_each_model_is_built_as_its_weights_were_trained(name: str, expected: tuple[object, ...]) -> None:
    kind, network = complete("reconstructors", load_ledger().model(name, "reconstructors").network, name)
    keys = ("rot_norm_dim", "world", "radius", "ray_fov_y_deg", "projection_fov_y_deg")
    assert kind == "lgm" and tuple(network[key] for key in keys) == expected


def test_a_generator_gets_its_camera_table() -> None:
    _, network = complete("generators", load_ledger().model("wonder3d-v1", "generators").network, "w")
    found = network["camera_type"], network["camera_table"], network["camera_dim"]
    assert found == ("orthographic", "wonder3d-v1", 10)


@pytest.mark.parametrize(("network", "words"), [
    ({}, "names no kind; choose one of"),
    ({"kind": "wonder4d"}, "no kind 'wonder4d' of generators"),
    ({"kind": "wonder3d", "preset": "v9"}, "the preset 'v9'; wonder3d has plus, tiny, v1"),
    ({"kind": "wonder3d", "unit": 3}, "unit: Extra inputs"),
    ({"kind": "no_such_package.net"}, "cannot be imported"),
])  # fmt: skip
def test_a_network_that_cannot_be_is_one_sentence(network: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        complete("generators", network, "x")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_kind_that_is_there_and_broken_shows_its_own_fault(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "outer/broken_kind"
    folder.mkdir(parents=True)
    (folder / "settings.py").write_text("import a_package_that_is_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
        complete("generators", {"kind": "outer.broken_kind"}, "x")


def test_the_same_network_serves_pairs_and_judge(files: Files) -> None:
    save_file(tiny_state(), files.folder / "tiny.safetensors")
    for dim in (1, -1):
        files.add("tiny", files.folder / "tiny.safetensors", "reconstructors", {**TINY, "rot_norm_dim": dim})
        plan = Plan(
            files.config({"generator": {"network": {"kind": "wonder3d"}}, "reconstructor": "tiny-model"})
        )
        pair = load_pretrained(plan.pairs["p"], files.access)
        judge = load_reconstructor(plan.pairs["p"].reconstructor, 0, files.access)
        assert pair.reconstructor.head.rot_norm_dim == judge.head.rot_norm_dim == dim


def test_weights_refuse_a_network_that_they_were_not_made_with(files: Files) -> None:
    """Shapes alone would not show it: the same weights in another head draw other Gaussians."""
    path = files.folder / "tiny.safetensors"
    write_facts(path, tiny_state(), {NETWORK: network_facts(recon_spec())})
    files.add("tiny", path)
    assert isinstance(load_reconstructor(with_file(recon_spec()), 0, files.access), torch.nn.Module)
    with pytest.raises(UserError, match="whose head is lgm and the pair's says ray"):
        load_reconstructor(
            recon_spec(head="ray").model_copy(update={"weights": {"recon": "tiny"}}), 0, files.access
        )


def test_a_part_of_a_file_and_old_names_load(files: Files) -> None:
    path = files.folder / "tiny.safetensors"
    state = {f"geometry.oldname.{key}": value for key, value in tiny_state().items()}
    save_file(state | {"geometry.oldname.position_ids": torch.arange(3)}, path)
    stored = {"prefix": "geometry.old.", "renames": {"oldname": "old"}, "constants": ["position_ids"]}
    files.add("tiny", path, stored=stored)
    loaded = load_reconstructor(
        recon_spec().model_copy(update={"weights": {"recon": "tiny"}}), 0, files.access
    )
    assert all(torch.equal(value, tiny_state()[key]) for key, value in loaded.state_dict().items())


def test_a_run_that_ships_loads_by_its_own_entries(files: Files) -> None:
    path = files.folder / "tiny.safetensors"
    save_file({f"geometry.{key}": value for key, value in tiny_state().items()}, path)
    files.add("tiny", path, stored={"prefix": "geometry."})
    pair = {
        "generator": {"network": {"kind": "wonder3d"}}, "reconstructor": {"network": TINY},
        "aligned": {"r": {"student": "student", "recon": "tiny"}},
    }  # fmt: skip
    spec = Plan(files.config(pair)).pairs["p"]
    lora = attach_lora(load_pretrained(spec, files.access).generator, 4, 0)
    save_file({k: torch.full_like(v, 0.5) for k, v in lora.items()}, files.folder / "student.safetensors")
    files.add("student", files.folder / "student.safetensors")
    job = Plan(files.config(pair)).sample("p", "m")
    assert job.aligned is not None and job.weights["tiny"] == sha256_file(path)
    loaded = load_pair(
        job.pair, job.checkpoints, Aligned(job.aligned.student, job.aligned.recon), job.lora_rank
    )
    assert all(torch.equal(v, tiny_state()[k]) for k, v in loaded.reconstructor.state_dict().items())
    assert all(bool((v == 0.5).all()) for v in lora_parameters(loaded.generator).values())
    assert not any(p.requires_grad for p in loaded.generator.parameters())


def test_the_image_tower_of_a_pair_loads(files: Files) -> None:
    """As transformers stores CLIP's tower, with the constant that its older releases wrote."""
    clip = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "patch_size": 16, "image_size": 32, "projection_dim": 16}  # fmt: skip
    state = {k: torch.full_like(v, 0.25) for k, v in ClipImageEncoder(**clip).tower.state_dict().items()}
    torch.save(state | {"vision_model.embeddings.position_ids": torch.arange(5)}, files.folder / "tower.bin")
    files.add("tower", files.folder / "tower.bin", stored={"constants": ["position_ids"]})

    def pair(encoder: str) -> dict[str, Any]:
        network = {"kind": "wonder3d", "image_encoder": encoder, "clip": clip}
        return {"generator": {"network": network, "weights": {"image_encoder": "tower"}},
                "reconstructor": {"network": TINY}}  # fmt: skip

    generator = load_pretrained(Plan(files.config(pair("clip"))).pairs["p"], files.access).generator
    assert all(bool((v == 0.25).all()) for v in generator.parts()["image_encoder"].state_dict().values())
    with pytest.raises(UserError, match="weights for a part 'image_encoder'; its parts are unet, vae"):
        load_pretrained(Plan(files.config(pair("lite0"))).pairs["p"], files.access)


def test_a_distilled_network_keeps_its_timesteps(files: Files) -> None:
    save_file(tiny_state(), files.folder / "tiny.safetensors")
    files.add("tiny", files.folder / "tiny.safetensors", timesteps=[999, 749, 599, 299])
    pair = {
        "generator": {"network": {"kind": "wonder3d"}}, "reconstructor": {"network": TINY},
        "aligned": {"r": {"student": "tiny", "recon": "tiny"}},
    }  # fmt: skip
    assert Plan(files.config(pair)).sample("p", "m").timesteps == [999, 749, 599, 299]
    other = {"methods": {"m": {"run": "r"}}, "timesteps": {4: [999, 749, 499, 249]}}
    with pytest.raises(UserError, match=r"tiny was trained at the timesteps \[999, 749, 599, 299\]"):
        Plan(files.config(pair, sample=other)).sample("p", "m")


def test_a_misspelt_key_of_an_entry_is_refused(files: Files) -> None:
    save_file(tiny_state(), files.folder / "tiny.safetensors")
    files.add("tiny", files.folder / "tiny.safetensors", stored={"prefixes": "x"})
    with pytest.raises(UserError, match=r"checkpoints.tiny.stored.prefixes"):
        load_ledger(files.path)


def test_lgm_has_32_groups_at_every_width_of_its_presets() -> None:
    shape = {
        "down_channels": [32, 64, 96, 96, 160, 160],
        "down_attention": [False] * 6,
        "up_channels": [160, 160, 96, 64],
        "up_attention": [False] * 4,
    }
    narrow = build_reconstructor(recon_spec(preset="small", **shape))
    groups = {m.num_groups for m in narrow.modules() if isinstance(m, torch.nn.GroupNorm)}
    assert groups == {32}


def test_the_input_image_stands_in_only_for_a_view_at_its_pose() -> None:
    def pairs(first: float) -> dict[str, Any]:
        own = {"generator": "demo-wonder3d", "reconstructor": "demo-lgm", "rig": "own", "input_view": True}
        rig = {"azimuths_deg": [first + 90 * i for i in range(4)]}
        return {"rigs": {"own": rig}, "pairs": {"p": own}}

    assert Plan(parse_config(pairs(0.0), "c")).pairs["p"].input_view
    assert Plan(parse_config({}, "c")).pairs["wonder3d+lgm"].input_view, "the demo's"
    without = pairs(0.0)
    del without["pairs"]["p"]["input_view"]
    assert not Plan(parse_config(without, "c")).pairs["p"].input_view
    with pytest.raises(UserError, match=r"pairs\.p\.input_view needs a rig .* stands at azimuth 45; set it"):
        Plan(parse_config(pairs(45.0), "c")).pairs["p"]
