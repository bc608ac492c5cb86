"""The discriminator's encoders: levels, CLIP's tokens, gradients, and what is trained and saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from tiny_world import align_job, moved_by, tiny_plan, tiny_settings, write_ledger
from torch import Tensor

from aligncvc.align.discriminator import (
    Augmentation,
    Discriminator,
    discriminator_loss,
    generator_loss,
    load_discriminator,
)
from aligncvc.align.trainer import Trainer
from aligncvc.config.jobs.align import GAN_LEVELS, Adversarial, AlignJob
from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder, ClipLevels
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.renderset import RenderSet
from aligncvc.streams import seeded, torch_stream

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 9, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8, "projection_dim": 12}  # fmt: skip


def tiny_clip() -> ClipImageEncoder:
    """Deep enough for blocks 4 and 8. As CLIP's training starts, pixels hardly count: they are made to."""
    encoder = seeded(lambda: ClipImageEncoder(**VISION), 0, "tiny clip")
    with torch.no_grad():
        encoder.tower.vision_model.embeddings.patch_embedding.weight.mul_(20)
    return encoder


def images(name: str, size: int = 32) -> Tensor:
    return torch.rand((2, 2, 3, size, size), generator=torch_stream(0, name))


@pytest.fixture
def discriminator() -> Discriminator:
    return Discriminator(ClipLevels(tiny_clip()), hidden=8, seed=0)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger whose clip-vit-b32 is the tiny tower."""
    folder = tmp_path_factory.mktemp("clip")
    file = folder / "tower.safetensors"
    save_file(tiny_clip().tower.state_dict(), file)
    network = {"kind": "clip", **VISION}
    return write_ledger(folder / "ledger.yaml", {"clip-vit-b32": file}, network=network, bytes=None)


def clip_job(ledger: str, **gan: object) -> AlignJob:
    job = align_job("hard", gan={"encoder": "clip", "hidden": 8, **gan})
    access = job.checkpoints.model_copy(update={"ledger": ledger})
    return job.model_copy(update={"checkpoints": access})


def loaded(job: AlignJob) -> Discriminator:
    return load_discriminator(job.training.gan, job.seed, job.checkpoints)


@pytest.mark.parametrize(("size", "side"), [(512, 224), (64, 224)])
def test_levels_of_vit_b32(size: int, side: int) -> None:
    """Vision-aided GAN's: two maps of 768 channels on a 7 x 7 grid and an embedding of 512 numbers."""
    with torch.device("meta"):
        encoder = ClipLevels(ClipImageEncoder())
        shapes = [tuple(f.shape) for f in encoder.features(torch.rand(2, 3, size, size))]
    assert shapes == [(2, 768, 7, 7), (2, 768, 7, 7), (2, 512, 1, 1)]
    assert encoder.input_px == side and GAN_LEVELS["clip"] == len(encoder.levels)


def test_levels_say_what_features_have() -> None:
    for name, encoder in (("lite0", Lite0()), ("clip", ClipLevels(tiny_clip()))):
        maps = encoder.features(images("x", encoder.input_px).flatten(0, 1)[:1])
        assert [x.shape[1] for x in maps] == [level.channels for level in encoder.levels]
        assert [x.shape[-1] > 1 for x in maps] == [level.spatial for level in encoder.levels]
        assert len(maps) == GAN_LEVELS[name]


def test_maps_are_the_tokens_after_the_fourth_and_the_eighth_block() -> None:
    clip = tiny_clip()
    outputs: dict[int, Tensor] = {}
    for number, block in enumerate(clip.tower.vision_model.encoder.layers, start=1):
        block.register_forward_hook(lambda _, __, result, n=number: outputs.update({n: result}))
    x = images("x").flatten(0, 1)
    first, second, embedding = ClipLevels(clip).features(x)
    for found, tokens in ((first, outputs[4]), (second, outputs[8])):
        for row, column in ((0, 0), (0, 3), (2, 1)):
            assert torch.equal(found[:, :, row, column], tokens[:, 1 + 4 * row + column])
    unit = torch.nn.functional.normalize(embedding[:, :, 0, 0], dim=1)
    torch.testing.assert_close(unit, clip.embed(x))
    assert not torch.allclose(embedding.square().sum(1), torch.ones(4, 1, 1), atol=0.01)


def test_other_sizes_are_resized_with_gradient_and_without_clamping() -> None:
    encoder = ClipLevels(tiny_clip())
    flat = torch.tensor([0.2, 0.5, 0.8])[:, None, None].expand(1, 3, 32, 32)
    for large, small in zip(encoder.features(flat.repeat(1, 1, 3, 3)), encoder.features(flat), strict=True):
        torch.testing.assert_close(large, small)
    outside = (images("x", 80)[:, 0] + 1.5).requires_grad_(True)
    torch.stack([f.square().mean() for f in encoder.features(outside)]).sum().backward()
    assert outside.grad is not None and bool((outside.grad.abs().sum((1, 2, 3)) > 0).all())


def test_a_tower_that_is_too_shallow_is_refused() -> None:
    with pytest.raises(UserError, match=r"after blocks \[4, 8\] and this one has 2"):
        ClipLevels(ClipImageEncoder(**{**VISION, "num_hidden_layers": 2}))


def test_the_encoder_is_frozen_and_gradients_pass_through_it(discriminator: Discriminator) -> None:
    discriminator.train()
    assert not any(module.training for module in discriminator.encoder.modules())
    before = {k: v.clone() for k, v in discriminator.encoder.state_dict().items()}
    fakes = images("fake", 24).requires_grad_(True)
    augmentation = Augmentation.draw([torch_stream(0, "a")], 4)
    discriminator_loss(discriminator, images("real", 24), fakes, 0.8, augmentation, 0.1).loss.backward()
    assert fakes.grad is None
    assert all(p.grad is not None for p in discriminator.heads.parameters())
    generator_loss(discriminator, fakes, 0.8, augmentation).backward()
    assert fakes.grad is not None and bool((fakes.grad.abs().sum((2, 3, 4)) > 0).all())
    assert all(p.grad is None and not p.requires_grad for p in discriminator.encoder.parameters())
    assert all(torch.equal(v, before[k]) for k, v in discriminator.encoder.state_dict().items())


def test_bfloat16_changes_logits_little(discriminator: Discriminator) -> None:
    x = images("x").flatten(0, 1)
    discriminator.eval()
    with torch.no_grad():
        exact = discriminator(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = discriminator(x)
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.bfloat16
        assert float((a - b).square().mean().sqrt()) < 0.05 * float(a.square().mean().sqrt())
    assert all(p.dtype == torch.float32 for p in discriminator.encoder.parameters())


def test_heads_learn_to_tell_shifted_images_and_the_generator_follows(discriminator: Discriminator) -> None:
    reals, fakes = images("real") * 0.3, images("fake") * 0.3 + 0.7
    optimiser = torch.optim.Adam(discriminator.heads.parameters(), lr=5e-3)
    gaps, losses = [], []
    for _ in range(30):
        heads_loss = discriminator_loss(discriminator, reals, fakes, 0.8, None)
        optimiser.zero_grad()
        heads_loss.loss.backward()
        optimiser.step()
        gaps.append(heads_loss.real - heads_loss.fake)
        losses.append(float(heads_loss.loss.detach()))
    assert losses[-1] < 0.8 * losses[0] and gaps[-1] > abs(gaps[0]) + 1
    discriminator.eval()
    with torch.no_grad():  # images that the heads have not seen, by every level
        real = discriminator(images("more reals").flatten(0, 1) * 0.3)
        fake = discriminator(images("more fakes").flatten(0, 1) * 0.3 + 0.7)
    assert all(float(a.mean()) > float(b.mean()) for a, b in zip(real, fake, strict=True))
    moving = moved_by(discriminator, fakes)
    bad = float(generator_loss(discriminator, fakes, 0.8, None))
    assert float(generator_loss(discriminator, moving, 0.8, None)) < bad


def test_the_configuration_chooses_encoder_and_levels(ledger: str) -> None:
    clip = loaded(clip_job(ledger))
    assert isinstance(clip.encoder, ClipLevels) and clip.levels == (0, 1, 2) and clip.input_px == 32
    assert [head[0].kernel_size for head in clip.heads] == [(3, 3), (3, 3), (1, 1)]
    assert loaded(clip_job(ledger, levels=[2])).levels == (2,)
    lite = load_discriminator(Adversarial(), 0, CheckpointAccess())
    assert isinstance(lite.encoder, Lite0) and lite.levels == (0, 1, 2, 3, 4) and lite.input_px == 128


def test_hard_alignment_with_clip_trains_heads_student_and_reconstructor_alone(
    renders: Path, ledger: str
) -> None:
    trainer = Trainer(clip_job(ledger), RenderSet(renders, 32), Accelerator(cpu=True))
    assert trainer.discriminator is not None
    encoder = {k: v.clone() for k, v in trainer.discriminator.encoder.state_dict().items()}
    heads = [p.detach().clone() for p in trainer.heads]
    record = trainer.step(0)
    assert record["grad_d"] > 0 and record["grad_student"] > 0 and record["grad_recon"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(heads, trainer.heads, strict=True))
    assert all(torch.equal(v, encoder[k]) for k, v in trainer.discriminator.encoder.state_dict().items())
    frozen = {id(p) for p in trainer.discriminator.encoder.parameters()}
    for optimiser in (trainer.optimiser, trainer.heads_optimiser):
        assert frozen.isdisjoint(id(p) for group in optimiser.param_groups for p in group["params"])
    saved = trainer.parts["heads"].state_dict()
    assert saved and saved.keys() == trainer.discriminator.heads.state_dict().keys()
    again = Trainer(clip_job(ledger), RenderSet(renders, 32), Accelerator(cpu=True)).step(0)
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in record.items() if k != "seconds"
    }


def test_missing_weights_are_one_sentence_with_licence_and_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("ALIGNCVC_OFFLINE", "1")
    words = r"clip-vit-b32 \(hub:openai/.*, licence MIT\) .*aligncvc\.checkpoints fetch clip-vit-b32`"
    with pytest.raises(UserError, match=words):
        loaded(clip_job("config/checkpoints.yaml"))


@pytest.mark.parametrize(("encoder", "run", "ships", "reads_clip"), [
    ("clip", {}, False, [True]),
    ("clip", {"hard": False}, False, [False]),
    ("clip", {}, True, []),
    ("lite0", {}, False, [False]),
])  # fmt: skip
def test_the_workflow_verifies_clip_where_a_run_is_trained_against_it(
    encoder: str, run: dict[str, object], ships: bool, reads_clip: list[bool]
) -> None:
    ready = {"mine": {"student": "demo-aligned-student", "recon": "demo-aligned-recon"}}
    pair = {"aligned": ready if ships else {}}
    data = tiny_settings(gan={"encoder": encoder}, runs={"mine": run, "unused": {}}, pair=pair)
    data["sample"] = {"methods": {"a": {"run": "mine"}}}
    plan = tiny_plan(data)
    trained = [plan.align(*run) for run in plan.trained_runs]
    assert [("clip-vit-b32" in job.weights) for job in trained] == reads_clip
    assert not any("clip-vit-b32" in plan.sample(*row).weights for row in plan.methods())
