"""Post-training: the 3D-aware sampling loop unrolled, with soft and hard alignment at one of its steps.

One iteration: draw objects, input views and k in {1..K}; run steps 1..k-1 of the sampler without gradient and
step k with it; let the discriminator learn from the (detached) renderings, and a fake score, if there is one,
from the (detached) latents; then one backward pass of lambda_soft ASD(latents) and, with hard alignment,
lambda_hard GAN(renderings) + lambda_recon (MSE + LPIPS)(renderings). Regression, the foil, has the last term
alone, of renderings and views. docs/method.md has the formulas.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from aligncvc.align.asd import soft_loss
from aligncvc.align.batches import Batch, BatchesAhead, draw_batch, unrolled_steps
from aligncvc.align.diagnostics import Monitor, image_diagnostics
from aligncvc.align.discriminator import (
    Augmentation,
    Discriminator,
    discriminator_loss,
    generator_loss,
    load_discriminator,
)
from aligncvc.align.fake_score import FakeScore, attach_fake
from aligncvc.align.sharing import Sharing, WholeState, clip, shared, whole
from aligncvc.config.jobs.align import AlignJob
from aligncvc.errors import UserError
from aligncvc.loop.feedback import Look, find_feedback
from aligncvc.loop.unroll import BACKGROUND, Loop, unroll
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.generators.base import Tree
from aligncvc.models.generators.schedules import Time
from aligncvc.models.pair import attach_lora, load_pretrained, lora_parameters
from aligncvc.models.reconstructors.base import checkpoint_gradients
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import at_common_size, composite
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream
from aligncvc.training import Ema, NamedTensors, rate_factor

R1_EVERY = 4
"""The discriminator's gradient penalty is taken every so many steps, so many times as strong."""
MAX_GRAD_NORM = 1.0
"""Each network's gradient is clipped to this norm on its own, so neither loss drowns the other network."""


def alpha_loss(drawn: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of rendered alpha (B, V, 1, H, W) to that of RGBA truth (B, V, 4, H, W)."""
    drawn, alpha = at_common_size(drawn, truth[..., 3:, :, :])
    return (drawn - alpha).square().mean()


def reconstruction_loss(
    perceptual: nn.Module, images: Tensor, truth: Tensor, mse_weight: float, foreground_weight: float
) -> Tensor:
    """Squared error, more of it on the object, and LPIPS of images (B, V, 3, H, W) to RGBA truth."""
    images, reference, alpha = at_common_size(images, composite(truth, 1.0), truth[..., 3:, :, :])
    squared = ((images - reference).square() * (1 + foreground_weight * alpha)).mean()
    distance = perceptual(images.flatten(0, 1) * 2 - 1, reference.flatten(0, 1) * 2 - 1).mean()
    return mse_weight * squared + distance


class Trainer:
    """Post-trains a pair: one step is one unrolled sampling, with a gradient at one of its K steps."""

    def __init__(self, job: AlignJob, renders: RenderSet, accelerator: Accelerator, readers: int = 0) -> None:
        """readers: processes that read batches ahead; they change no number."""
        self.job, self.run, self.settings = job, job.losses, job.training
        self.steps = self.run.steps or self.settings.steps
        mode = self.run.asd_mode or self.settings.asd.mode
        self.asd = self.settings.asd.model_copy(update={"mode": mode})
        self.renders, self.accelerator, self.device = renders, accelerator, accelerator.device
        self.feedback = find_feedback(job.feedback)
        self.feedback.check(job.pair, len(job.timesteps))
        self.pair = load_pretrained(job.pair, job.checkpoints)
        self.generator, self.reconstructor = self.pair.generator, self.pair.reconstructor
        attach_lora(self.generator, self.settings.lora_rank, job.seed)
        judged = self.run.soft and mode == "fake_score"
        if judged:
            attach_fake(self.generator, self.asd, job.seed)
        # The teacher is the generator with its LoRA off; another object here would be a second copy of it.
        self.teacher = self.generator
        self.reconstructor.requires_grad_(True)
        if self.settings.gradient_checkpointing:
            self.generator.checkpoint_gradients()
            checkpoint_gradients(self.reconstructor)
        self.sharing = Sharing.launched(accelerator)
        self.shared_part = 0.0
        if self.sharing is not None:  # before the device sees any of it: no process there holds it whole
            networks = [*self.generator.parts().values(), self.reconstructor]
            self.shared_part = self.sharing.share(networks, accelerator)
        self.pair.to(self.device)
        self.lora = lora_parameters(self.generator)
        self.recon_parameters = dict(self.reconstructor.named_parameters())
        trained = {"student": self.lora, "recon": self.recon_parameters}
        self.rates = (self.settings.lr_student, self.settings.lr_recon)
        groups = [
            {"params": list(parameters.values()), "lr": rate}
            for parameters, rate in zip(trained.values(), self.rates, strict=True)
        ]
        each = None if self.sharing is None else False  # torch does not step whole and shared ones together
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, foreach=each)
        named = {f"{part}.{n}": p for part, parameters in trained.items() for n, p in parameters.items()}
        self.ema = Ema(named, self.settings.ema_decay)
        self.parts = {"lora": NamedTensors(self.lora), "recon": self.reconstructor}
        self.parts |= {"ema": self.ema, "optimiser": self.optimiser}
        self.fake = FakeScore(self.generator, self.asd, each) if judged else None
        if self.fake is not None:
            self.parts |= {"fake": NamedTensors(self.fake.parameters), "fake_optimiser": self.fake.optimiser}
        self.discriminator: Discriminator | None = None
        self.lpips: nn.Module | None = None
        self.monitor: Monitor | None = None
        gan = self.settings.gan
        if self.run.adversarial:
            views = len(job.pair.rig.azimuths_deg)
            self.discriminator = load_discriminator(gan, job.seed, job.checkpoints, views).to(self.device)
            self.heads = list(self.discriminator.heads.parameters())
            # beta1 = 0: the opponent moves, so momentum would push along stale directions
            self.heads_optimiser = torch.optim.Adam(self.heads, lr=gan.lr, betas=(0.0, 0.99))
            self.parts |= {"heads": self.discriminator.heads, "heads_optimiser": self.heads_optimiser}
        if self.run.compared_with_truth and self.settings.lambda_recon > 0:
            self.lpips = load_lpips("alex", job.checkpoints).to(self.device)
        if self.sharing is not None:
            self.parts = {n: WholeState(p, accelerator.is_main_process) for n, p in self.parts.items()}
        self.batches = BatchesAhead(self.draw, self.steps, readers)
        if self.settings.monitor_every:
            self.monitor = Monitor(job, renders, self.generator, self.device)

    def draw(self, index: int) -> Batch:
        """This process's share of a step's batch, on the CPU."""
        count, rank = self.settings.batch, self.accelerator.process_index
        slots, total = range(rank * count, (rank + 1) * count), count * self.accelerator.num_processes
        novel = self.settings.novel_views if self.lpips is not None else 0
        return draw_batch(self.renders, self.job.seed, index, slots, "cpu", novel, total)

    def step(self, index: int) -> dict[str, float]:
        """One iteration; its record, averaged over processes. Raises UserError if the loss is not finite."""
        started = time.perf_counter()
        factor = rate_factor(index, self.steps, self.settings.warmup_steps, self.settings.lr_final)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        batch = self.batches.at(index).to(self.device)
        stratified = self.settings.unrolled == "stratified"
        k = unrolled_steps(self.job.seed, index, len(self.job.timesteps), stratified=stratified)
        with self.accelerator.autocast():
            condition, latents, look = self.roll_out(batch, k)
        record: dict[str, float] = {"step": index, "k": k}
        record |= self.discriminator_step(batch, look, index) | self.fake_step(batch, condition, latents)
        with self.accelerator.autocast():
            losses, facts = self.losses(batch, condition, latents, look, index)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise UserError(
                f"alignment diverged at step {index} (loss {float(total)}); lower align.lr_student, "
                "align.lr_recon or the lambdas and start again"
            )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        record |= {f"loss_{name}": float(value.detach()) for name, value in losses.items()}
        record |= facts | {"lr_factor": factor}
        record["grad_student"] = self.average_and_clip(self.lora.values())
        record["grad_recon"] = self.average_and_clip(self.recon_parameters.values())
        self.optimiser.step()
        self.ema.update()
        record |= image_diagnostics(look, batch.views, self.mean)
        record["seconds"] = round(time.perf_counter() - started, 4)
        return self.averaged(record)

    def roll_out(self, batch: Batch, k: int) -> tuple[Tree, Tensor, Look]:
        """Steps 1..k-1 without gradient, then step k: its condition, clean latents and 3D model."""
        seed, shape = self.job.seed, self.generator.latent_shape(batch.views.shape[1])

        def noise(index: int, time: Time) -> Tensor:
            names = ("renoise", time) if index else ("start",)
            return batch.noise(shape, seed, *names)

        grad_3d = self.run.hard or self.run.regression
        loop = Loop(self.pair, batch.cameras, self.job.pair.guidance, noise, grad_3d=grad_3d)
        times = self.feedback.times(self.generator.schedule, len(self.job.timesteps), self.job.timesteps)
        steps = unroll(loop, self.feedback, batch.image, times, grad_from=k - 1)
        ((state, step),) = deque(islice(steps, k), maxlen=1)
        latents = step.prediction.x0
        return state.condition, latents, step.look or loop.look(latents, state)

    def losses(
        self, batch: Batch, condition: Tree, latents: Tensor, look: Look, index: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The weighted terms of the student's and reconstructor's loss, and facts for the log."""
        losses: dict[str, Tensor] = {}
        facts: dict[str, float] = {}
        if self.run.soft:
            randoms = [torch_stream(self.job.seed, *name, "asd") for name in batch.names]
            noise = batch.noise(latents.shape[1:], self.job.seed, "asd", "noise")
            loss, distance = soft_loss(self.teacher, latents, condition, self.asd, noise, randoms, self.fake)
            losses["soft"] = self.settings.lambda_soft * loss
            facts["asd_distance"] = float(distance.mean())
        if self.discriminator is not None:
            weight = self.settings.lambda_hard if index >= self.settings.gan.warmup else 0.0
            smoothing, augmentation = self.settings.gan.label_smoothing, self.augmentation(batch, "g")
            shown = look.on_white, smoothing, augmentation
            loss = generator_loss(self.discriminator, *shown, given=self.given(batch))
            losses["g"] = weight * loss
        if self.lpips is not None:
            renderings, truth, alphas = look.on_white, batch.rgba, look.drawn.alpha
            if self.settings.novel_views:
                # The rig alone would let the Gaussians thin out between its cameras
                novel = rasterise(look.gaussians, batch.novel_cameras, background=BACKGROUND)
                renderings, truth = torch.cat([renderings, novel.rgb], 1), torch.cat([truth, batch.novel], 1)
                alphas = torch.cat([alphas, novel.alpha], 1)
            losses["recon"] = self.settings.lambda_recon * self.to_truth(renderings, truth)
            if self.settings.alpha_weight:
                weight = self.settings.lambda_recon * self.settings.alpha_weight
                losses["alpha"] = weight * alpha_loss(alphas, truth)
            if self.run.regression:
                losses["views"] = self.settings.lambda_recon * self.to_truth(look.views, batch.rgba)
        return losses, facts

    def to_truth(self, images: Tensor, truth: Tensor) -> Tensor:
        assert self.lpips is not None
        weights = self.settings.mse_weight, self.settings.foreground_weight
        return reconstruction_loss(self.lpips, images, truth, *weights)

    def discriminator_step(self, batch: Batch, look: Look, index: int) -> dict[str, float]:
        if self.discriminator is None:
            return {}
        self.heads_optimiser.zero_grad(set_to_none=True)
        lazy = R1_EVERY * self.settings.gan.r1 if index % R1_EVERY == 0 else 0.0
        with self.accelerator.autocast():
            smoothing, augmentation = self.settings.gan.label_smoothing, self.augmentation(batch, "d")
            heads = discriminator_loss(
                self.discriminator, batch.views, look.on_white, smoothing, augmentation, lazy,
                given=self.given(batch),
            )  # fmt: skip
        heads.loss.backward()
        norm = self.average_and_clip(self.heads)
        self.heads_optimiser.step()
        loss = float(heads.loss.detach())
        return {"loss_d": loss, "grad_d": norm, "d_real": heads.real, "d_fake": heads.fake}

    def fake_step(self, batch: Batch, condition: Tree, latents: Tensor) -> dict[str, float]:
        if self.fake is None:
            return {}
        draws = self.fake.draws(batch, latents, self.job.seed)
        return self.fake.learn(latents, condition, draws, self.average_and_clip, self.accelerator.autocast)

    def monitored(self, index: int) -> dict[str, float]:
        """Distances on the fixed batch, at the first step, every align.monitor_every steps and the last."""
        every = self.settings.monitor_every
        if self.monitor is None or (index % every and index + 1 != self.steps):
            return {}
        return self.monitor(self.generator, self.teacher)

    def augmentation(self, batch: Batch, who: str) -> Augmentation | None:
        """One draw for each view, or for all of an object, from its stream; None where that is off."""
        if not self.settings.gan.augment:
            return None
        randoms = [torch_stream(self.job.seed, *name, "augment", who) for name in batch.names]
        return Augmentation.draw(randoms, batch.views.shape[1], alike=self.settings.gan.of_objects)

    def given(self, batch: Batch) -> Tensor | None:
        """The input images (B, 3, H, W), if the discriminator is shown them."""
        return batch.image if self.settings.gan.sees_input else None

    def average_and_clip(self, parameters: Iterable[nn.Parameter]) -> float:
        """Average gradients over processes, clip their norm; return the norm before clipping.

        The backward pass has averaged those that are shared.
        """
        chosen = [p for p in parameters if p.grad is not None]
        if self.accelerator.num_processes > 1:
            for parameter in chosen:
                if parameter.grad is not None and not shared(parameter):
                    parameter.grad = self.mean(parameter.grad)
        if any(shared(p) for p in chosen):
            return clip(chosen, self.accelerator, MAX_GRAD_NORM)
        return float(nn.utils.clip_grad_norm_(chosen, MAX_GRAD_NORM)) if chosen else 0.0

    def mean(self, tensor: Tensor) -> Tensor:
        """A tensor's mean over processes."""
        return self.accelerator.reduce(tensor, reduction="mean")

    def averaged(self, record: Mapping[str, float]) -> dict[str, float]:
        """The record with its real numbers averaged over processes; whole ones are the same everywhere."""
        if self.accelerator.num_processes == 1:
            return dict(record)
        names = [name for name, value in record.items() if isinstance(value, float)]
        own = torch.tensor([record[name] for name in names], dtype=torch.float64, device=self.device)
        return dict(record) | dict(zip(names, self.mean(own).tolist(), strict=True))

    def results(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(LoRA, reconstructor) state dicts holding the averaged weights; every process has to ask."""
        shadow = self.ema.shadow
        student = {n: whole(shadow[f"student.{n}"]).to(p.dtype) for n, p in self.lora.items()}
        recon = {
            n: whole(shadow.get(f"recon.{n}", v)).to(v.dtype)
            for n, v in self.reconstructor.state_dict().items()
        }
        return student, recon
