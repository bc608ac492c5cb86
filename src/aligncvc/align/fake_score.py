"""The fake score: what a network trained on the student's samples says of them (DMD2, arXiv 2405.14867).

A second LoRA on the denoiser that student and teacher share. It learns by denoising the student's detached
clean latents, given their condition and without guidance, at the times where soft alignment asks for it. It
starts as the teacher (B = 0), where the student's gradient is exactly zero. No result contains it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from aligncvc.align.asd import draw_timesteps
from aligncvc.align.batches import Batch
from aligncvc.config.jobs.align import Asd
from aligncvc.errors import UserError
from aligncvc.models.generators.base import MultiViewGenerator, Prediction, Tree, over_tree
from aligncvc.models.generators.denoising import denoising_error
from aligncvc.models.generators.schedules import SD_TIMESTEPS
from aligncvc.models.pair import attach_lora, lora_parameters
from aligncvc.streams import torch_stream

FAKE = "fake"
"""Name of its adapter."""

Clip = Callable[[Iterable[nn.Parameter]], float]
"""Makes gradients those of all processes and bounds their norm, which it returns."""


def attach_fake(generator: MultiViewGenerator, settings: Asd, root_seed: int) -> None:
    """Put the fake score's fresh LoRA beside the student's."""
    attach_lora(generator, settings.fake.rank, root_seed, FAKE)


class FakeScore:
    """The adapter of a generator that has it, and the optimiser that trains it alone."""

    def __init__(self, generator: MultiViewGenerator, settings: Asd, foreach: bool | None = None) -> None:
        """settings: its rate, its updates a step and the range of timesteps. foreach: as AdamW has it."""
        self.generator, self.settings = generator, settings
        self.parameters = lora_parameters(generator, FAKE)
        rate = settings.fake.lr
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0, foreach=foreach
        )

    def __call__(self, z_t: Tensor, timesteps: Tensor, condition: Tree) -> Prediction:
        """Of noisy latents (B, V, C, h, w) at times (B,): conditional only."""
        with self.generator.adapter(FAKE):
            return self.generator.predict(z_t, timesteps, condition)

    def loss(self, x0: Tensor, condition: Tree, timesteps: Tensor, noise: Tensor) -> Tensor:
        """`denoising_error` at timesteps (B,) of clean latents x0; noise: like x0, (B, V, C, h, w)."""
        return denoising_error(self.generator, x0, noise, timesteps, condition)

    def draws(self, batch: Batch, samples: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Timesteps (B,) and noise like the samples (B, V, C, h, w) of a step's updates.

        From the objects' streams; the timesteps are uniform where soft alignment's are.
        """
        for update in range(self.settings.fake.updates):
            randoms = [torch_stream(seed, *name, "fake", update) for name in batch.names]
            t, _ = draw_timesteps(randoms, self.settings, SD_TIMESTEPS)
            noise = batch.noise(samples.shape[1:], seed, "fake", update, "noise")
            yield self.generator.schedule.like(t.to(samples.device)), noise

    def learn(
        self,
        samples: Tensor,
        condition: Tree,
        draws: Iterable[tuple[Tensor, Tensor]],
        clip: Clip,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> dict[str, float]:
        """Denoise the student's samples, once a draw; the mean loss and gradient norm, for the log.

        Args:
            samples: clean latents (B, V, C, h, w); nothing flows back to who made them.
            condition: theirs.
            draws: timesteps (B,) and standard normal noise (B, V, C, h, w) of each update.
            clip: of gradients.
            autocast: the context in which networks are trained.

        Raises:
            UserError: the loss is not finite.
        """
        x0, condition = samples.detach().float(), over_tree(Tensor.detach, condition)
        losses, norms = [], []
        for timesteps, noise in draws:
            self.optimiser.zero_grad(set_to_none=True)
            with self.generator.adapter(FAKE):
                with autocast():
                    loss = self.loss(x0, condition, timesteps, noise)
                loss.backward()  # in here: checkpointed blocks are computed once more, with this adapter
            losses.append(float(loss.detach()))
            norms.append(clip(self.parameters.values()))
            self.optimiser.step()
        mean = sum(losses) / len(losses)
        if not torch.tensor(mean).isfinite():
            raise UserError(
                f"the fake score diverged (loss {mean}); lower align.asd.fake.lr or align.lr_student and "
                "start again"
            )
        return {"loss_fake": mean, "grad_fake": sum(norms) / len(norms)}
