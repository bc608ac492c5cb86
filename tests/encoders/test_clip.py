"""CLIP's image tower: the same numbers as transformers' CLIPModel, from a ledger's file or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.models.encoders.clip import ClipImageEncoder, load_clip
from aligncvc.models.ledger.resolve import missing
from aligncvc.models.specs import CheckpointAccess

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 16,
}


def access_to(folder: Path, file: Path) -> CheckpointAccess:
    """A ledger in the folder that names the file."""
    entry = {
        "what": "a small random CLIP",
        "source": f"file:{file}",
        "sha256": sha256_file(file),
        "bytes": file.stat().st_size,
        "licence": "MIT",
        "network": VISION,
    }
    path = folder / "ledger.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "checkpoints": {"clip-vit-b32": entry}}), encoding="utf-8")
    return CheckpointAccess(ledger=str(path))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPModel, CheckpointAccess]:
    """A whole CLIP, text tower and all, as `save_pretrained` writes it; and a ledger that names its file."""
    folder = tmp_path_factory.mktemp("clip")
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)).eval()
    model.save_pretrained(folder)
    return model, access_to(folder, folder / "model.safetensors")


def test_embeddings_are_those_of_the_whole_model(tiny: tuple[CLIPModel, CheckpointAccess]) -> None:
    model, access = tiny
    encoder = load_clip(access=access)
    images = torch.rand(20, 3, 32, 32)  # more than one batch
    found = encoder.embed(images)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.no_grad():
        hidden = model.vision_model(pixel_values=(images - mean) / std).pooler_output
        expected = torch.nn.functional.normalize(model.visual_projection(hidden), dim=-1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.norm(dim=1).tolist() == pytest.approx([1] * 20, abs=1e-5)


def test_other_sizes_are_resized_and_cropped(tiny: tuple[CLIPModel, CheckpointAccess]) -> None:
    encoder = load_clip(access=tiny[1])
    flat = torch.tensor([0.2, 0.5, 0.8])[:, None, None].expand(3, 48, 64)
    assert torch.allclose(encoder.embed(flat[None]), encoder.embed(flat[None, :, :32, :32]), atol=1e-4)
    wide = torch.rand(1, 3, 32, 64)
    assert torch.allclose(encoder.embed(wide), encoder.embed(wide[..., 16:48]), atol=1e-5)


def test_position_ids_of_old_files_are_ignored_but_nothing_else(
    tiny: tuple[CLIPModel, CheckpointAccess], tmp_path: Path
) -> None:
    state = load_file(Path(tiny[1].ledger).with_name("model.safetensors"))
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, tmp_path / "old.safetensors")
    image = torch.rand(1, 3, 32, 32)
    old = load_clip(access=access_to(tmp_path, tmp_path / "old.safetensors"))
    assert torch.equal(old.embed(image), load_clip(access=tiny[1]).embed(image))
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match=r"1 missing: visual_projection\.weight"):
        load_clip(access=access_to(tmp_path, tmp_path / "broken.safetensors"))


def test_the_default_architecture_is_vit_b32() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in ClipImageEncoder().tower.state_dict().items()}
    assert shapes["visual_projection.weight"] == (512, 768)
    assert shapes["vision_model.embeddings.patch_embedding.weight"] == (768, 3, 32, 32)
    assert shapes["vision_model.embeddings.position_embedding.weight"] == (50, 768)
    assert sum(key.endswith("layer_norm1.weight") for key in shapes) == 12


def test_missing_weights_have_a_reason(tiny: tuple[CLIPModel, CheckpointAccess], tmp_path: Path) -> None:
    assert missing("clip-vit-b32", tiny[1]) is None
    ledger = tmp_path / "ledger.yaml"
    text = (
        Path(tiny[1].ledger).read_text(encoding="utf-8").replace("model.safetensors", "nowhere.safetensors")
    )
    ledger.write_text(text, encoding="utf-8")
    reason = missing("clip-vit-b32", CheckpointAccess(ledger=str(ledger)))
    assert reason is not None and reason.startswith("n/a (weights missing): ")
    assert "nowhere.safetensors" in reason
