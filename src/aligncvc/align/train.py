"""Post-training: the 3D-aware sampling loop unrolled, with soft and hard alignment at one of its steps.

One iteration: draw objects and an input view for each; draw k in {1..K}; run steps 1..k-1 of the sampler
without gradient and step k with it; let the discriminator learn from the (detached) renderings; then one
backward pass of lambda_soft ASD(latents) and, with hard alignment, lambda_hard GAN(renderings) +
lambda_recon (MSE + LPIPS)(renderings).
The student is the teacher plus LoRA; the reconstructor trains in full. docs/method.md has the formulas.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from aligncvc.align.adversarial import Augmentation, Discriminator, discriminator_loss, generator_loss
from aligncvc.align.asd import soft_loss
from aligncvc.align.batches import Batch, draw_batch, unrolled_steps
from aligncvc.align.state import Ema, ParameterState, RunState
from aligncvc.codehash import code_hash
from aligncvc.config import Config
from aligncvc.encoders import load_lite0, load_lpips
from aligncvc.errors import UserError
from aligncvc.files import sha256_file, sha256_json, write_provenance, write_text
from aligncvc.metrics import psnr
from aligncvc.mvg import Condition
from aligncvc.pair import RECON_FILE, STUDENT_FILE, attach_lora, base_weights, load_pretrained, write_weights
from aligncvc.renderset import RenderSet
from aligncvc.rollout import StepResult, aware_step, renoise, timesteps_for
from aligncvc.streams import torch_stream

MAX_GRAD_NORM = 1.0
"""Each network's gradient is clipped to this norm on its own, so neither loss drowns the other network."""


UNROLLED_STEPS = 4
"""K of the unrolled sampler, the paper's."""


class Trainer:
    """Networks, optimisers and averages of one run."""

    def __init__(self, config: Config, run_name: str, renders: RenderSet, accelerator: Accelerator) -> None:
        """Raises UserError for a run that the configuration does not define or that has no loss."""
        if run_name not in config.align.runs:
            raise UserError(
                f"align.runs does not define {run_name!r}; choose one of {sorted(config.align.runs)}"
            )
        self.config, self.align, self.run = config, config.align, config.align.runs[run_name]
        if not (self.run.soft or self.run.hard):
            raise UserError(f"align.runs.{run_name} has neither soft nor hard alignment; switch one on")
        if accelerator.mixed_precision == "fp16":
            raise UserError(
                "fp16 needs loss scaling, which two optimisers cannot share; use mixed precision bf16"
            )
        self.renders, self.accelerator, self.device = renders, accelerator, accelerator.device
        self.timesteps = timesteps_for(UNROLLED_STEPS, config)
        self.generator, self.reconstructor = load_pretrained(config)
        self.lora = attach_lora(self.generator, self.align.lora_rank, config.seed)
        self.generator.to(self.device)
        self.reconstructor.to(self.device).requires_grad_(True)
        self.recon_parameters = dict(self.reconstructor.named_parameters())
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(self.lora.values()), "lr": self.align.lr_student},
                {"params": list(self.recon_parameters.values()), "lr": self.align.lr_recon},
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
        if self.run.hard:
            self.discriminator = Discriminator(load_lite0(), self.align.gan.hidden, config.seed).to(
                self.device
            )
            self.heads = list(self.discriminator.heads.parameters())
            # beta1 = 0: the opponent moves, so momentum would push along stale directions
            self.heads_optimiser = torch.optim.Adam(self.heads, lr=self.align.gan.lr, betas=(0.0, 0.99))
            self.parts |= {"heads": self.discriminator.heads, "heads_optimiser": self.heads_optimiser}
            if self.align.lambda_recon > 0:
                self.lpips = load_lpips("alex").to(self.device)

    def step(self, index: int) -> dict[str, float]:
        """One iteration; returns its record. Raises UserError if the loss is not finite."""
        started = time.perf_counter()
        count, rank = self.align.batch, self.accelerator.process_index
        batch = draw_batch(
            self.renders, self.config.seed, index, range(rank * count, (rank + 1) * count), self.device
        )
        k = unrolled_steps(self.config.seed, index, len(self.timesteps))
        with self.accelerator.autocast():
            result, condition = self.roll_out(batch, k)
        record: dict[str, float] = {"step": index, "k": k}
        record |= self.discriminator_step(batch, result)
        with self.accelerator.autocast():
            losses = self.losses(batch, result, condition)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise UserError(
                f"alignment diverged at step {index} (loss {float(total)}); lower align.lr_student, "
                "align.lr_recon or the lambdas and start again"
            )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        record |= {f"loss_{name}": float(value.detach()) for name, value in losses.items()}
        record["grad_student"] = self.average_and_clip(self.lora.values())
        record["grad_recon"] = self.average_and_clip(self.recon_parameters.values())
        self.optimiser.step()
        self.ema.update()
        record["residual_psnr"] = float(psnr(result.views.detach(), result.renderings.detach()).mean())
        record["gt_psnr"] = float(psnr(result.renderings.detach(), batch.views).mean())
        record["seconds"] = round(time.perf_counter() - started, 4)
        return record

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
                z = renoise(self.generator, result.renderings, noise, following)
        result = aware_step(
            self.generator,
            self.reconstructor,
            z,
            self.timesteps[k - 1],
            condition,
            batch.cameras,
            guidance,
            grad_3d=self.run.hard,
        )
        return result, condition

    def losses(self, batch: Batch, result: StepResult, condition: Condition) -> dict[str, Tensor]:
        """The weighted terms of the student's and reconstructor's loss."""
        losses: dict[str, Tensor] = {}
        if self.run.soft:
            randoms = [torch_stream(self.config.seed, *name, "asd") for name in batch.names]
            noise = batch.noise(result.latents.shape[1:], self.config.seed, "asd", "noise")
            losses["soft"] = self.align.lambda_soft * soft_loss(
                self.generator, result.latents, condition, self.align.asd, noise, randoms
            )
        if self.discriminator is not None:
            losses["g"] = self.align.lambda_hard * generator_loss(
                self.discriminator,
                result.renderings,
                self.align.gan.label_smoothing,
                self.augmentation(batch, "g"),
            )
        if self.lpips is not None:
            fake, real = result.renderings.flatten(0, 1), batch.views.flatten(0, 1)
            perceptual = self.lpips(fake * 2 - 1, real * 2 - 1).mean()
            losses["recon"] = self.align.lambda_recon * ((fake - real).square().mean() + perceptual)
        return losses

    def discriminator_step(self, batch: Batch, result: StepResult) -> dict[str, float]:
        """Train the heads on ground truth against detached renderings at the same cameras."""
        if self.discriminator is None:
            return {}
        self.heads_optimiser.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            loss = discriminator_loss(
                self.discriminator,
                batch.views,
                result.renderings,
                self.align.gan.label_smoothing,
                self.augmentation(batch, "d"),
            )
        loss.backward()
        norm = self.average_and_clip(self.heads)
        self.heads_optimiser.step()
        return {"loss_d": float(loss.detach()), "grad_d": norm}

    def augmentation(self, batch: Batch, who: str) -> Augmentation | None:
        """One draw for each view, from its object's stream; None where augmentation is off."""
        if not self.align.gan.augment:
            return None
        views = batch.views.shape[1]
        return Augmentation.draw(
            [torch_stream(self.config.seed, *name, "augment", who) for name in batch.names], views
        )

    def average_and_clip(self, parameters: Iterable[nn.Parameter]) -> float:
        """Average gradients over processes, clip their norm; return the norm before clipping."""
        chosen = [p for p in parameters if p.grad is not None]
        if self.accelerator.num_processes > 1:
            for parameter in chosen:
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")
        return float(nn.utils.clip_grad_norm_(chosen, MAX_GRAD_NORM)) if chosen else 0.0

    def results(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(LoRA, reconstructor) state dicts holding the averaged weights."""
        shadow = self.ema.shadow
        student = {n: shadow[f"student.{n}"].to(p.dtype) for n, p in self.lora.items()}
        recon = {
            n: shadow[f"recon.{n}"].to(v.dtype) if f"recon.{n}" in shadow else v
            for n, v in self.reconstructor.state_dict().items()
        }
        return student, recon


def run_key(config: Config, run_name: str, renders: RenderSet, processes: int) -> str:
    """A hash of everything that a run's weights depend on."""
    relevant = config.model_dump(include={"seed", "render", "mvg", "recon", "align"}, mode="json")
    relevant["align"]["runs"] = relevant["align"]["runs"].get(run_name)
    weights = {part: sha256_file(path) for part, path in base_weights(config).items()}
    return sha256_json(
        [
            relevant,
            timesteps_for(UNROLLED_STEPS, config),
            run_name,
            renders.key,
            weights,
            processes,
            code_hash("aligncvc.align"),
        ]
    )


def train(config: Config, run_name: str, manifest: Path, out: Path) -> None:
    """Run (or continue) one alignment run and write its weights, metrics and provenance into `out`."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    renders = RenderSet(manifest, config.render.size_px)
    trainer = Trainer(config, run_name, renders, accelerator)
    key = run_key(config, run_name, renders, accelerator.num_processes)
    state = RunState(out / "state", key, trainer.parts)
    console = Console(stderr=True)
    start, remark = state.restore()
    if remark:
        console.print(remark, highlight=False)
    accelerator.wait_for_everyone()
    steps = config.align.steps
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    main = accelerator.is_main_process
    with Progress(*columns, console=console, disable=not (main and console.is_terminal)) as progress:
        task = progress.add_task(f"align {run_name}", total=steps, completed=start)
        for index in range(start, steps):
            record = trainer.step(index)
            done = index + 1
            if main:
                state.log(record)
            progress.update(task, completed=done, description=describe(run_name, record))
            if main and (done % config.align.save_every == 0 or done == steps):
                state.save(done)
                if not console.is_terminal:
                    console.print(f"{done}/{steps} {describe(run_name, record)}", highlight=False)
    accelerator.wait_for_everyone()
    if main:
        publish(trainer, state, run_name, renders, out)


def describe(run_name: str, record: dict[str, float]) -> str:
    """The progress line: name, unrolled steps, losses, residual."""
    losses = " ".join(f"{k[5:]} {v:.3g}" for k, v in record.items() if k.startswith("loss_"))
    return f"align {run_name} k={record['k']} {losses} residual {record['residual_psnr']:.1f} dB"


def publish(trainer: Trainer, state: RunState, run_name: str, renders: RenderSet, out: Path) -> None:
    """Write the results, each complete or absent, then remove the state."""
    config = trainer.config
    inputs = {"renders": renders.key, "run": state.key}
    inputs |= {part: sha256_file(path) for part, path in base_weights(config).items()}
    write_text(out / "metrics.jsonl", state.metrics.read_text(encoding="utf-8"))
    for name, weights in zip((STUDENT_FILE, RECON_FILE), trainer.results(), strict=True):
        write_weights(out / name, weights, run=run_name, lora_rank=config.align.lora_rank)
        write_provenance(
            out / name,
            inputs=inputs,
            config=config.model_dump(mode="json"),
            seed=config.seed,
            run=run_name,
            steps=config.align.steps,
        )
    state.discard()
