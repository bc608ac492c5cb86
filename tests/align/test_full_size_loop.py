"""What the paper's pair needs beside the demo's: two sizes, both domains, gradient checkpointing."""

from __future__ import annotations

import math
from collections import Counter
from itertools import count

import pytest
import torch
from accelerate import Accelerator
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from tiny_world import align_job, tiny_pair, write_renders
from torch import Tensor, nn

from aligncvc.align.batches import draw_batch, unrolled_steps
from aligncvc.align.diagnostics import Monitor, image_diagnostics
from aligncvc.align.trainer import Trainer
from aligncvc.config.jobs.align import AlignJob
from aligncvc.errors import UserError
from aligncvc.loop.aligncvc import FEEDBACK
from aligncvc.loop.unroll import Loop, unroll, view_noise
from aligncvc.metrics.psnr import psnr
from aligncvc.models.pair import load_pretrained
from aligncvc.models.reconstructors.base import checkpoint_gradients
from aligncvc.models.reconstructors.lgm.network import DownBlock
from aligncvc.scene.renderset import RenderSet, batched
from aligncvc.scene.views import reduced

VIEWS_PX, RENDERS_PX = 32, 64


def two_sizes(run: str = "both", domains: str = "colours", **training: object) -> AlignJob:
    """The tiny pair at 32 px, drawn at 64 px: LGM is drawn at twice its size, too."""
    both = {"size_px": VIEWS_PX, "domains": domains, "unet": {"cross_domain": domains == "both"}}
    settings = {"batch": 1, "generator": both, "reconstructor": {"size_px": VIEWS_PX}, **training}
    return align_job(run, size_px=RENDERS_PX, **settings)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> RenderSet:
    folder = tmp_path_factory.mktemp("renders64")
    return RenderSet(write_renders(folder, ("a",), RENDERS_PX), RENDERS_PX)


def trainer_of(job: AlignJob, renders: RenderSet) -> Trainer:
    """A trainer whose LoRA and cross-domain attention are no identity, so that a wrong path shows."""
    trainer = Trainer(job, renders, Accelerator(cpu=True))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in trainer.generator.denoiser.named_parameters():
            if "lora_B" in name or "attn_joint_mid.to_out" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=random))
    return trainer


@pytest.mark.parametrize("domains", ["colours", "both"])
@pytest.mark.parametrize("run", ["both", "foil"])
def test_checkpointing_changes_no_number(large: RenderSet, run: str, domains: str) -> None:
    """The gradient is at k = 4: other batches go through the networks between forward and backward."""
    found = []
    for checkpointing in (False, True):
        trainer = trainer_of(two_sizes(run, domains, gradient_checkpointing=checkpointing), large)
        record = trainer.step(next(i for i in count() if unrolled_steps(0, i, 4) == 4))
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
    pair = load_pretrained(two_sizes().pair)
    generator, reconstructor = pair.generator, pair.reconstructor
    generator.checkpoint_gradients()
    checkpoint_gradients(reconstructor)
    calls: Counter[str] = Counter()

    def counted(module: nn.Module, _: object) -> None:
        calls[type(module).__name__] += 1

    kinds = (ResnetBlock2D, BasicTransformerBlock, DownBlock)
    blocks = [m for net in (generator.unet, generator.vae.decoder, reconstructor) for m in net.modules()]
    blocks = [m for m in blocks if isinstance(m, kinds)]
    for block in blocks:
        block.register_forward_pre_hook(counted)
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
    trainer = trainer_of(two_sizes("foil"), large)
    batch = draw_batch(large, 0, 0, range(1), "cpu")
    with torch.no_grad():
        _, _, look = trainer.roll_out(batch, 1)
    assert look.views.shape[-1] == VIEWS_PX and look.renderings.shape[-1] == RENDERS_PX
    told = image_diagnostics(look, batch.views)
    small = reduced(batch.views, (VIEWS_PX, VIEWS_PX))
    assert told["gt_psnr"] == float(psnr(look.renderings, batch.views).mean())
    assert told["views_gt_psnr"] == float(psnr(look.views, small).mean())
    drawn = reduced(look.renderings, (VIEWS_PX, VIEWS_PX))
    assert told["residual_psnr"] == float(psnr(look.views, drawn).mean())
    # the loss of views that are the reduced truth itself is nothing but rounding
    assert float(trainer.to_truth(small, batch.rgba)) < 1e-6 < float(trainer.to_truth(1 - small, batch.rgba))


def test_the_monitor_sees_truth_at_the_views_size(large: RenderSet) -> None:
    job = two_sizes()
    generator = load_pretrained(job.pair).generator
    monitor = Monitor(job, large, generator, "cpu")
    sizes: list[int] = []
    real = monitor.encoder.embed

    def embed(images: Tensor) -> Tensor:
        sizes.append(images.shape[-1])
        return real(images)

    monitor.encoder.embed = embed  # type: ignore[method-assign]
    distances = monitor(generator, generator)
    assert sizes == [VIEWS_PX] * 3 and distances["fd_student_gt"] > 0
    assert distances["fd_student_teacher"] == pytest.approx(0, abs=1e-6)


def test_the_monitor_is_refused_with_normals(large: RenderSet) -> None:
    with pytest.raises(UserError, match=r"monitor_every is 5 and needs latents of ground-truth .*no normals"):
        Trainer(two_sizes(domains="both", monitor_every=5), large, Accelerator(cpu=True))


def test_renoising_keeps_the_predicted_normals_and_takes_the_renderings_colours(large: RenderSet) -> None:
    pair = load_pretrained(two_sizes(domains="both").pair)
    generator = pair.generator
    images, cameras = large.load("a").rig_from(0)
    noises = [view_noise(generator.latent_shape(4), 0, name)[None] for name in ("z", "n")]
    loop = Loop(pair, batched([cameras]), 1.3, lambda index, _: noises[index])
    (_, step), (state, _) = unroll(loop, FEEDBACK, images[:1], [999, 599])
    colours = load_pretrained(two_sizes().pair).generator.encode(step.look.renderings)  # the same VAE
    signal, sigma = generator.schedule.signal_noise(torch.tensor([599]))
    latents, noise = step.prediction.x0, noises[1]
    assert state.z.shape == noise.shape and latents.shape[2] == 8
    torch.testing.assert_close(state.z[:, :, :4], signal * latents[:, :, :4] + sigma * noise[:, :, :4])
    torch.testing.assert_close(state.z[:, :, 4:], signal * colours + sigma * noise[:, :, 4:])
    with pytest.raises(UserError, match="have no normals to encode"):
        generator.encode_renderings(step.look.renderings)


def test_colours_alone_ignore_what_was_predicted(large: RenderSet) -> None:
    generator = load_pretrained(tiny_pair(size_px=RENDERS_PX, generator={"size_px": VIEWS_PX})).generator
    images = large.load("a").rig_from(0)[0][None]
    predicted = torch.full((1, *generator.latent_shape(4)), math.nan)
    assert torch.equal(generator.encode_renderings(images, predicted), generator.encode(images))
