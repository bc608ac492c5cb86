"""What the paper's pair needs beside the demo's: two sizes, both domains, gradient checkpointing."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from tiny_world import tiny_settings, write_renders
from torch import Tensor, nn

from aligncvc.align.batches import draw_batch
from aligncvc.align.diagnostics import Monitor, image_diagnostics
from aligncvc.align.trainer import Trainer
from aligncvc.bench.dry_step import dry_step, step_with
from aligncvc.config.sections import Config, parse_config
from aligncvc.errors import UserError
from aligncvc.loop.rollout import aware_step, renoise, view_noise
from aligncvc.metrics.psnr import psnr
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.models.pair import load_pretrained
from aligncvc.models.reconstructors.base import checkpoint_gradients
from aligncvc.models.reconstructors.lgm.network import DownBlock
from aligncvc.scene.renderset import RenderSet, batched
from aligncvc.scene.views import reduced

VIEWS_PX, RENDERS_PX = 32, 64
RUNS = {"both": {}, "regression": {"soft": False, "hard": False, "regression": True}}


def two_sizes(domains: str = "colours", **align: object) -> Config:
    """The tiny pair at 32 px, drawn at 64 px: LGM is drawn at twice its size, too."""
    settings: dict[str, Any] = tiny_settings(**{"batch": 1, "runs": RUNS, **align})
    settings["sample"] = {"methods": {"aware_4": {}}}
    settings["render"]["size_px"] = RENDERS_PX
    settings["recon"]["size_px"] = VIEWS_PX
    settings["mvg"] |= {"size_px": VIEWS_PX, "domains": domains}
    settings["mvg"]["unet"]["cross_domain"] = domains == "both"
    return parse_config(settings, "two sizes")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> RenderSet:
    folder = tmp_path_factory.mktemp("renders64")
    return RenderSet(write_renders(folder, ("a",), RENDERS_PX), RENDERS_PX)


def trainer_of(config: Config, run: str, renders: RenderSet) -> Trainer:
    """A trainer whose LoRA and cross-domain attention are no identity, so that a wrong path shows."""
    trainer = Trainer(config, run, renders, Accelerator(cpu=True))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in trainer.generator.unet.named_parameters():
            if "lora_B" in name or "attn_joint_mid.to_out" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=random))
    return trainer


@pytest.mark.parametrize("domains", ["colours", "both"])
@pytest.mark.parametrize("run", ["both", "regression"])
def test_checkpointing_changes_no_number(large: RenderSet, run: str, domains: str) -> None:
    """The gradient is at k = 4: other batches go through the networks between forward and backward."""
    found = []
    for checkpointing in (False, True):
        trainer = trainer_of(two_sizes(domains, gradient_checkpointing=checkpointing), run, large)
        record = trainer.step(step_with(4, trainer.config))
        trained = {**trainer.lora, **trainer.recon_parameters}
        found.append((record, {name: p.grad for name, p in trained.items()}))
    (plain, gradients), (again, repeated) = found
    assert plain["grad_student"] > 0 and plain["grad_recon"] > 0
    assert {k: v for k, v in plain.items() if k != "seconds"} == {
        k: v for k, v in again.items() if k != "seconds"
    }
    for name, gradient in gradients.items():
        assert torch.equal(gradient, repeated[name]), name


def test_checkpointed_blocks_run_once_more_and_only_with_gradient() -> None:
    """In evaluation mode, which both networks are in: dropout and the like stay off."""
    generator, reconstructor = load_pretrained(two_sizes())
    generator.checkpoint_gradients()
    checkpoint_gradients(reconstructor)
    calls: Counter[str] = Counter()

    def count(module: nn.Module, _: object) -> None:
        calls[type(module).__name__] += 1

    kinds = (ResnetBlock2D, BasicTransformerBlock, DownBlock)
    blocks = [m for net in (generator.unet, generator.vae.decoder, reconstructor) for m in net.modules()]
    blocks = [m for m in blocks if isinstance(m, kinds)]
    for block in blocks:
        block.register_forward_pre_hook(count)
    assert not generator.training and not reconstructor.training
    cameras = torch.eye(4).expand(1, 4, 4, 4)
    condition = generator.encode_condition(torch.rand(1, 3, 32, 32), cameras)
    z = view_noise(generator.latent_shape(4), 0, "z")[None]

    def through() -> Tensor:
        x0 = generator.predict(z.requires_grad_(True), torch.tensor([749]), condition).x0
        images = generator.decode(x0)
        features = reconstructor.unet(torch.cat([images, images, images], 2).flatten(0, 1), 4)
        return features.square().mean()

    with torch.no_grad():
        through()
    once = Counter(calls)
    through().backward()
    assert set(once) == {kind.__name__ for kind in kinds} and sum(once.values()) == len(blocks)
    # once forward and once more backward, but for what a block's gradient needs no more of (its last layers)
    assert all(2.9 * n < calls[name] <= 3 * n for name, n in once.items()), (once, calls)


def test_a_reconstructor_that_cannot_says_so() -> None:
    with pytest.raises(UserError, match=r"Linear has no gradient checkpointing; set align"):
        checkpoint_gradients(nn.Linear(1, 1))


def test_views_and_truth_are_compared_at_the_views_size(large: RenderSet) -> None:
    trainer = trainer_of(two_sizes(), "regression", large)
    batch = draw_batch(large, 0, 0, range(1), "cpu")
    with torch.no_grad():
        result, _ = trainer.roll_out(batch, 1)
    assert result.views.shape[-1] == VIEWS_PX and result.renderings.shape[-1] == RENDERS_PX
    told = image_diagnostics(result, batch.views)
    small = reduced(batch.views, (VIEWS_PX, VIEWS_PX))
    assert told["gt_psnr"] == float(psnr(result.renderings, batch.views).mean())
    assert told["views_gt_psnr"] == float(psnr(result.views, small).mean())
    drawn = reduced(result.renderings, (VIEWS_PX, VIEWS_PX))
    assert told["residual_psnr"] == float(psnr(result.views, drawn).mean())
    # the loss of views that are the reduced truth itself is nothing but rounding
    assert float(trainer.to_truth(small, batch.rgba)) < 1e-6 < float(trainer.to_truth(1 - small, batch.rgba))


def test_the_monitor_sees_truth_at_the_views_size(large: RenderSet) -> None:
    config = two_sizes()
    generator = load_pretrained(config)[0]
    encoder = load_lite0()
    sizes: list[int] = []
    encoder.register_forward_pre_hook(lambda _, images: sizes.append(images[0].shape[-1]))
    monitor = Monitor(large, encoder, [999, 749, 599, 299], 1.3, 0, "cpu")
    real = encoder.embed

    def embed(images: Tensor) -> Tensor:
        sizes.append(images.shape[-1])
        return real(images)

    encoder.embed = embed  # type: ignore[method-assign]
    distances = monitor(generator, generator)
    assert sizes == [VIEWS_PX] * 3 and distances["fd_student_gt"] > 0
    assert distances["fd_student_teacher"] == pytest.approx(0, abs=1e-6)


def test_the_monitor_is_refused_with_normals() -> None:
    with pytest.raises(
        UserError, match=r"monitor_every is 5, and its distances need latents of true normals"
    ):
        two_sizes("both", monitor_every=5)


def test_renoising_keeps_the_predicted_normals_and_takes_the_renderings_colours(large: RenderSet) -> None:
    generator, reconstructor = load_pretrained(two_sizes("both"))
    images, cameras = large.load("a").rig_from(0)
    rig = batched([cameras])
    condition = generator.encode_condition(images[:1], rig.c2w)
    z, noise = (view_noise(generator.latent_shape(4), 0, name)[None] for name in ("z", "n"))
    with torch.no_grad():
        result = aware_step(generator, reconstructor, z, 999, condition, rig, 1.3)
        following = renoise(generator, result.renderings, noise, 599, predicted=result.latents)
        colours = load_pretrained(two_sizes())[0].encode(result.renderings)  # the same VAE
    signal, sigma = generator.signal_noise(torch.tensor([599]))
    assert following.shape == z.shape and result.latents.shape[2] == 8
    torch.testing.assert_close(
        following[:, :, :4], signal * result.latents[:, :, :4] + sigma * noise[:, :, :4]
    )
    torch.testing.assert_close(following[:, :, 4:], signal * colours + sigma * noise[:, :, 4:])
    with pytest.raises(UserError, match="have no normals to encode"):
        renoise(generator, result.renderings, noise, 599)


def test_colours_alone_ignore_what_was_predicted(large: RenderSet) -> None:
    generator = load_pretrained(two_sizes())[0]
    images = large.load("a").rig_from(0)[0][None]
    predicted = torch.full((1, *generator.latent_shape(4)), math.nan)
    assert torch.equal(generator.encode_renderings(images, predicted), generator.encode(images))


@pytest.mark.parametrize("domains", ["colours", "both"])
def test_dry_step_reports_a_step_of_the_trainer(domains: str) -> None:
    facts = dry_step(two_sizes(domains, gradient_checkpointing=True), "both", k=2)
    record = facts["record"]
    assert record["k"] == 2 and {"loss_soft", "loss_g", "loss_d", "loss_recon"} <= set(record)
    assert facts["finite"] and facts["seconds"] > 0 and facts["peak_mb"] > facts["weights_mb"] > 0
    assert (facts["views_px"], facts["renderings_px"], facts["domains"]) == (VIEWS_PX, RENDERS_PX, domains)
    assert facts["gradient_checkpointing"] and facts["discriminator"] == "lite0"


def test_dry_step_without_clip_takes_the_bundled_encoder_and_refuses_an_unknown_step() -> None:
    config = two_sizes(gan={"encoder": "clip", "hidden": 8, "levels": [2]}, monitor_every=3)
    facts = dry_step(config, "both", teacher_copy=True)
    single = dry_step(config, "both")
    assert facts["discriminator"] in ("lite0", "clip") and "fd_student_gt" not in facts["record"]
    assert facts["weights_mb"] > single["weights_mb"]
    assert facts["record"]["loss_soft"] == single["record"]["loss_soft"]
    with pytest.raises(UserError, match="unrolls 1 to 4 steps, not 5"):
        dry_step(config, "both", k=5)
