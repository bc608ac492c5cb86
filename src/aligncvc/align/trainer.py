"""Post-training: the 3D-aware sampling loop unrolled, with soft and hard alignment at one of its steps.

One iteration: draw objects and an input view for each; draw k in {1..K}; run steps 1..k-1 of the sampler
without gradient and step k with it; let the discriminator learn from the (detached) renderings; then one
backward pass of lambda_soft ASD(latents) and, with hard alignment, lambda_hard GAN(renderings) +
lambda_recon (MSE + LPIPS)(renderings). Regression, the foil, has lambda_recon (MSE + LPIPS) of the
renderings and of the views, and nothing else.
The student is the teacher plus LoRA; the reconstructor trains in full. docs/method.md has the formulas.
"""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from aligncvc.align.adversarial import Augmentation, Discriminator, discriminator_loss, generator_loss
from aligncvc.align.asd import soft_loss
from aligncvc.align.batches import Batch, draw_batch, unrolled_steps
from aligncvc.align.diagnostics import Monitor, image_diagnostics
from aligncvc.align.judges import load_discriminator
from aligncvc.align.losses import rate_factor, reconstruction_loss
from aligncvc.align.processes import average_and_clip, averaged_record
from aligncvc.align.state import Ema, ParameterState
from aligncvc.config.align import Align, AlignRun
from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.loop.rollout import BACKGROUND, StepResult, aware_step, renoise, timesteps_for
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.generators import Condition
from aligncvc.models.pair import attach_lora, load_pretrained
from aligncvc.models.reconstructors.base import checkpoint_gradients
from aligncvc.scene.renderset import RenderSet
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

R1_EVERY = 4
"""The discriminator's gradient penalty is taken every so many steps, so many times as strong."""

UNROLLED_STEPS = 4
"""K of the unrolled sampler, the paper's."""


def trained_run(align: Align, name: str) -> AlignRun:
    """A run that can be trained. Raises UserError if it is not defined or its weights are bundled."""
    if name not in align.runs:
        raise UserError(f"align.runs does not define {name!r}; choose one of {sorted(align.runs)}")
    run = align.runs[name]
    if run.weights is not None:
        repeat = align.repeated_by(name)
        mend = f"train run {repeat}" if repeat else "define a run without `weights` and train that"
        raise UserError(
            f"the weights of run {name} ship with the repository ({run.weights.student}, "
            f"{run.weights.recon}) and are used as they are; to repeat its losses {mend}"
        )
    return run


class Trainer:
    """Networks, optimisers and averages of one run."""

    def __init__(self, config: Config, run_name: str, renders: RenderSet, accelerator: Accelerator) -> None:
        """Raises UserError for a run that the configuration does not define, or whose weights are bundled."""
        self.config, self.align = config, config.align
        self.run = trained_run(config.align, run_name)
        self.steps = self.run.steps or self.align.steps
        self.asd = self.align.asd
        if self.run.asd_mode is not None:
            self.asd = self.asd.model_copy(update={"mode": self.run.asd_mode})
        if accelerator.mixed_precision == "fp16":
            raise UserError(
                "fp16 needs loss scaling, which two optimisers cannot share; use mixed precision bf16"
            )
        self.renders, self.accelerator, self.device = renders, accelerator, accelerator.device
        self.timesteps = timesteps_for(UNROLLED_STEPS, config)
        self.generator, self.reconstructor = load_pretrained(config)
        self.lora = attach_lora(self.generator, self.align.lora_rank, config.seed)
        self.generator.to(self.device)
        # The teacher is the generator with its LoRA off; another object here would be a second copy of it.
        self.teacher = self.generator
        self.reconstructor.to(self.device).requires_grad_(True)
        if self.align.gradient_checkpointing:
            self.generator.checkpoint_gradients()
            checkpoint_gradients(self.reconstructor)
        self.recon_parameters = dict(self.reconstructor.named_parameters())
        self.rates = (self.align.lr_student, self.align.lr_recon)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(parameters.values()), "lr": rate}
                for parameters, rate in zip((self.lora, self.recon_parameters), self.rates, strict=True)
            ],
            betas=(0.9, 0.99),
            weight_decay=0.0,
        )
        self.ema = Ema(
            {
                **{f"student.{n}": p for n, p in self.lora.items()},
                **{f"recon.{n}": p for n, p in self.recon_parameters.items()},
            },
            self.align.ema_decay,
        )
        self.parts = {
            "lora": ParameterState(self.lora),
            "recon": self.reconstructor,
            "ema": self.ema,
            "optimiser": self.optimiser,
        }
        self.discriminator: Discriminator | None = None
        self.lpips: nn.Module | None = None
        self.monitor: Monitor | None = None
        gan = self.align.gan
        if self.run.hard:
            self.discriminator = load_discriminator(config).to(self.device)
            self.heads = list(self.discriminator.heads.parameters())
            # beta1 = 0: the opponent moves, so momentum would push along stale directions
            self.heads_optimiser = torch.optim.Adam(self.heads, lr=gan.lr, betas=(0.0, 0.99))
            self.parts |= {"heads": self.discriminator.heads, "heads_optimiser": self.heads_optimiser}
        if (self.run.hard or self.run.regression) and self.align.lambda_recon > 0:
            self.lpips = load_lpips("alex").to(self.device)
        if self.align.monitor_every:
            self.monitor = Monitor(
                renders,
                load_lite0().to(self.device),
                self.timesteps,
                config.mvg.guidance_scale,
                config.seed,
                self.device,
            )

    def step(self, index: int) -> dict[str, float]:
        """One iteration; returns its record, averaged over processes.

        Raises UserError if the loss is not finite.
        """
        started = time.perf_counter()
        factor = rate_factor(index, self.steps, self.align.warmup_steps, self.align.lr_final)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        count, rank = self.align.batch, self.accelerator.process_index
        batch = draw_batch(
            self.renders,
            self.config.seed,
            index,
            range(rank * count, (rank + 1) * count),
            self.device,
            self.align.novel_views if self.lpips is not None else 0,
        )
        k = unrolled_steps(self.config.seed, index, len(self.timesteps))
        with self.accelerator.autocast():
            result, condition = self.roll_out(batch, k)
        record: dict[str, float] = {"step": index, "k": k}
        record |= self.discriminator_step(batch, result, index)
        with self.accelerator.autocast():
            losses, facts = self.losses(batch, result, condition, index)
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
        record["grad_student"] = average_and_clip(self.accelerator, self.lora.values())
        record["grad_recon"] = average_and_clip(self.accelerator, self.recon_parameters.values())
        self.optimiser.step()
        self.ema.update()
        record |= image_diagnostics(result, batch.views)
        record["seconds"] = round(time.perf_counter() - started, 4)
        return averaged_record(self.accelerator, record)

    def roll_out(self, batch: Batch, k: int) -> tuple[StepResult, Condition]:
        """Steps 1..k-1 of 3D-aware sampling without gradient, then step k with it."""
        seed, guidance = self.config.seed, self.config.mvg.guidance_scale
        shape = self.generator.latent_shape(batch.views.shape[1])
        with torch.no_grad():
            condition = self.generator.encode_condition(batch.image, batch.cameras.c2w)
            z = batch.noise(shape, seed, "start")
            for now, following in zip(self.timesteps[: k - 1], self.timesteps[1:k], strict=True):
                result = aware_step(
                    self.generator, self.reconstructor, z, now, condition, batch.cameras, guidance
                )
                noise = batch.noise(shape, seed, "renoise", following)
                z = renoise(self.generator, result.renderings, noise, following, predicted=result.latents)
        result = aware_step(
            self.generator,
            self.reconstructor,
            z,
            self.timesteps[k - 1],
            condition,
            batch.cameras,
            guidance,
            grad_3d=self.run.hard or self.run.regression,
        )
        return result, condition

    def losses(
        self, batch: Batch, result: StepResult, condition: Condition, index: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The weighted terms of the student's and reconstructor's loss, and facts for the log."""
        losses: dict[str, Tensor] = {}
        facts: dict[str, float] = {}
        if self.run.soft:
            randoms = [torch_stream(self.config.seed, *name, "asd") for name in batch.names]
            noise = batch.noise(result.latents.shape[1:], self.config.seed, "asd", "noise")
            loss, distance = soft_loss(self.teacher, result.latents, condition, self.asd, noise, randoms)
            losses["soft"] = self.align.lambda_soft * loss
            facts["asd_distance"] = float(distance.mean())
        if self.discriminator is not None:
            weight = self.align.lambda_hard if index >= self.align.gan.warmup else 0.0
            losses["g"] = weight * generator_loss(
                self.discriminator,
                result.renderings,
                self.align.gan.label_smoothing,
                self.augmentation(batch, "g"),
            )
        if self.lpips is not None:
            renderings, truth = result.renderings, batch.rgba
            if self.align.novel_views:
                # The rig alone would let the Gaussians thin out between its cameras
                novel = rasterise(result.gaussians, batch.novel_cameras, background=BACKGROUND).rgb
                renderings, truth = torch.cat([renderings, novel], 1), torch.cat([truth, batch.novel], 1)
            losses["recon"] = self.align.lambda_recon * self.to_truth(renderings, truth)
            if self.run.regression:
                losses["views"] = self.align.lambda_recon * self.to_truth(result.views, batch.rgba)
        return losses, facts

    def to_truth(self, images: Tensor, truth: Tensor) -> Tensor:
        """The reconstruction loss of images (B, V, 3, H, W) to ground truth (B, V, 4, H', W'), a scalar."""
        assert self.lpips is not None
        return reconstruction_loss(
            self.lpips, images, truth, self.align.mse_weight, self.align.foreground_weight
        )

    def discriminator_step(self, batch: Batch, result: StepResult, index: int) -> dict[str, float]:
        """Train the heads on ground truth against detached renderings at the same cameras."""
        if self.discriminator is None:
            return {}
        self.heads_optimiser.zero_grad(set_to_none=True)
        lazy = R1_EVERY * self.align.gan.r1 if index % R1_EVERY == 0 else 0.0
        with self.accelerator.autocast():
            judged = discriminator_loss(
                self.discriminator,
                batch.views,
                result.renderings,
                self.align.gan.label_smoothing,
                self.augmentation(batch, "d"),
                lazy,
            )
        judged.loss.backward()
        norm = average_and_clip(self.accelerator, self.heads)
        self.heads_optimiser.step()
        loss = float(judged.loss.detach())
        return {"loss_d": loss, "grad_d": norm, "d_real": judged.real, "d_fake": judged.fake}

    def monitored(self, index: int) -> dict[str, float]:
        """Distances on the fixed batch, at the first step, every align.monitor_every steps and the last."""
        every = self.align.monitor_every
        if self.monitor is None or (index % every and index + 1 != self.steps):
            return {}
        return self.monitor(self.generator, self.teacher)

    def augmentation(self, batch: Batch, who: str) -> Augmentation | None:
        """One draw for each view, from its object's stream; None where augmentation is off."""
        if not self.align.gan.augment:
            return None
        views = batch.views.shape[1]
        return Augmentation.draw(
            [torch_stream(self.config.seed, *name, "augment", who) for name in batch.names], views
        )

    def results(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(LoRA, reconstructor) state dicts holding the averaged weights."""
        shadow = self.ema.shadow
        student = {n: shadow[f"student.{n}"].to(p.dtype) for n, p in self.lora.items()}
        recon = {
            n: shadow[f"recon.{n}"].to(v.dtype) if f"recon.{n}" in shadow else v
            for n, v in self.reconstructor.state_dict().items()
        }
        return student, recon
