"""Soft alignment with a learnt score of the student's own distribution (DMD2, arXiv 2405.14867).

ASD's second term stands in for that score. Here it is a network's, as an ablation: a second LoRA on the
frozen denoiser, which learns to denoise the student's samples while the student learns. With B = 0 it is the
teacher, and where the teacher is not guided the gradient begins at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from aligncvc.align.asd import DMD_FLOOR, draw_timesteps, full_precision, surrogate_loss
from aligncvc.config.jobs.align import Asd
from aligncvc.models.generators.base import MultiViewGenerator, Tree, over_tree
from aligncvc.models.generators.schedules import SD_TIMESTEPS
from aligncvc.models.pair import STUDENT, lora_parameters
from aligncvc.streams import torch_stream

FAKE = "fake"
"""The adapter's name."""


class FakeScore:
    """The second LoRA of a generator that has it (`attach_lora(..., adapter=FAKE)`), and its optimiser."""

    def __init__(
        self,
        generator: MultiViewGenerator,
        settings: Asd,
        root_seed: int,
        clip: Callable[[Iterable[nn.Parameter]], float],
    ) -> None:
        """clip: averages gradients over processes and clips them, as the trainer does the student's."""
        self.generator, self.settings, self.root_seed, self.clip = generator, settings, root_seed, clip
        self.parameters = lora_parameters(generator, FAKE)
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), lr=settings.fake_lr, betas=(0.0, 0.99), weight_decay=0.0
        )

    def learn(self, latents: Tensor, condition: Tree, names: Sequence[tuple[object, ...]]) -> float:
        """Some steps of denoising the student's latents (B, V, C, h, w); the mean loss.

        names: of the objects' random streams.
        """
        x0, losses = latents.detach().float(), []
        condition = over_tree(Tensor.detach, condition)
        for update in range(self.settings.fake_updates):
            randoms = [torch_stream(self.root_seed, *name, FAKE, update) for name in names]
            t, _ = draw_timesteps(randoms, self.settings, SD_TIMESTEPS)
            noise = torch.stack([torch.randn(x0.shape[1:], generator=r) for r in randoms]).to(x0.device)
            times = self.generator.schedule.like(t.to(x0.device))
            self.generator.use_adapter(FAKE)
            try:
                loss = self.generator.denoising_error(x0, noise, times, condition)
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                self.clip(self.parameters.values())
                self.optimiser.step()
            finally:
                self.generator.use_adapter(STUDENT)
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def gradient(self, latents: Tensor, condition: Tree, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(fake x0 - teacher's x0) / (distance + floor) at `latents`, detached; and the distance (B, V).

        The weight is ASD's with DMD normalisation, so that lambda_soft means the same for both.
        """
        generator = self.generator
        z, condition = latents.detach().float(), over_tree(full_precision, condition)
        with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
            z_t = generator.schedule.add_noise(z, noise, t)
            with generator.adapters_off():
                teacher = generator.predict(z_t, t, condition, self.settings.guidance_scale).x0
            generator.use_adapter(FAKE)
            try:
                fake = generator.predict(z_t, t, condition).x0
            finally:
                generator.use_adapter(STUDENT)
        distance = (z - teacher).abs().mean(dim=(2, 3, 4), keepdim=True)
        scale = distance + DMD_FLOOR if self.settings.dmd_normalise else 1.0
        return (fake - teacher) / scale, distance.flatten(1)

    def loss(
        self, latents: Tensor, condition: Tree, noise: Tensor, randoms: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """As `asd.soft_loss`: the student's surrogate loss, and the distance (B, V) to the teacher."""
        t, _ = draw_timesteps(randoms, self.settings, SD_TIMESTEPS)
        times = self.generator.schedule.like(t.to(latents.device))
        gradient, distance = self.gradient(latents, condition, times, noise)
        return surrogate_loss(latents, gradient), distance
