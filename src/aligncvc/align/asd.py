"""Soft alignment: Asynchronous Score Distillation (ScaleDreamer, arXiv 2407.02040), repaired.

The student's clean latents z are noised to t and to a slightly later t + dt **with the same noise**. The
gradient with respect to z is

    g = w(t) (eps(z_t, t; guided) - eps(z_{t+dt}, t+dt; conditional only))

where eps is the frozen teacher. The second term stands in for the score of the student's own distribution
(which VSD and DMD train a network for). With dt = 0 and guidance on both terms, the form in the authors'
release, the two cancel and the gradient is identically zero: `mode="official"` keeps it for ablation.
With `mode="fake_score"` the second term is such a network (`fake_score.py`), at the first term's z_t and t:
under DMD's weight g is then (x0_fake - x0_teacher) / distance, as DMD has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aligncvc.config.jobs.align import Asd
from aligncvc.models.generators.base import MultiViewGenerator, Prediction, Tree, over_tree
from aligncvc.models.generators.schedules import SD_TIMESTEPS

DMD_FLOOR = 0.1
"""Added to the DMD normaliser (TriplaneTurbo), so that a student at its goal does not blow up."""


Score = Callable[[Tensor, Tensor, Tree], Prediction]
"""What a network says of noisy latents (B, V, C, h, w) at times (B,), given their condition."""


@dataclass(frozen=True)
class AsdDraw:
    """Of one evaluation: the teacher's times t and t_plus >= t, (B,); noise (B, V, C, h, w)."""

    t: Tensor
    t_plus: Tensor
    noise: Tensor


def draw_timesteps(
    randoms: Sequence[torch.Generator], settings: Asd, train_timesteps: int
) -> tuple[Tensor, Tensor]:
    """Timesteps (t, t_plus), each (B,) long on CPU, one generator an object; its views share the timesteps.

    t ~ U{t_min T .. t_max T}; t_plus = min(t + max(floor(u eta (t - t_floor T)), least_dt), T - 1), and
    u ~ U[0, 1). Without a second evaluation of the teacher (official, fake_score) t_plus is t.
    """
    low = round(settings.t_min * train_timesteps)
    high = min(round(settings.t_max * train_timesteps), train_timesteps - 1)
    t = torch.stack([torch.randint(low, max(low, high) + 1, (), generator=r) for r in randoms])
    u = torch.stack([torch.rand((), generator=r) for r in randoms])
    if settings.mode != "asd":
        return t, t.clone()
    floor = low if settings.t_floor is None else round(settings.t_floor * train_timesteps)
    shift = (u * settings.eta * (t - floor)).floor().long().clamp_min(settings.least_dt)
    return t, (t + shift).clamp_max(train_timesteps - 1)


def asd_gradient(
    teacher: MultiViewGenerator,
    latents: Tensor,
    condition: Tree,
    draw: AsdDraw,
    settings: Asd,
    fake: Score | None = None,
) -> tuple[Tensor, Tensor]:
    """The ASD gradient at `latents` (B, V, C, h, w), detached, of the same shape; and the distance (B, V).

    The mean absolute one to the teacher's x0. DMD normalisation divides the x0 estimates' difference by it.
    The networks compute in float32 whatever surrounds them: the gradient is a small difference of two large
    numbers, a third to a half of which would be rounding in bfloat16 (docs/method.md).

    Args:
        teacher: evaluated with its adapters off.
        latents: the student's clean ones.
        condition: what the networks see besides.
        draw: times and noise.
        settings: guidance of the first term, mode and weight.
        fake: the second term, at the first one's z_t; None: the teacher at t_plus.
    """
    guided, schedule = settings.guidance_scale, teacher.schedule
    z, condition = latents.detach().float(), over_tree(_full_precision, condition)
    plain = torch.autocast(latents.device.type, enabled=False)
    with torch.no_grad(), plain:
        z_t = schedule.add_noise(z, draw.noise, draw.t)
        with teacher.adapters_off():
            first = teacher.predict(z_t, draw.t, condition, guided)
            if fake is None:
                z_plus = schedule.add_noise(z, draw.noise, draw.t_plus)
                second_scale = guided if settings.mode == "official" else 1.0
                second = teacher.predict(z_plus, draw.t_plus, condition, second_scale)
        if fake is not None:  # an adapter of the same denoiser, perhaps
            second = fake(z_t, draw.t, condition)
    difference = (first.eps - second.eps).float()
    abar = schedule.signal_share(draw.t).float()
    distance = (z - first.x0).abs().float().mean(dim=(2, 3, 4), keepdim=True)
    if settings.dmd_normalise:
        return ((1 - abar) / abar).sqrt() * difference / (distance + DMD_FLOOR), distance.flatten(1)
    return (1 - abar) * difference, distance.flatten(1)


def _full_precision(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


def surrogate_loss(latents: Tensor, gradient: Tensor) -> Tensor:
    """0.5 ||z - sg(z - g)||^2, summed over a view's elements, averaged over views: gradient g / (B V)."""
    squares = 0.5 * (latents.float() - (latents.detach().float() - gradient)).square()
    return squares.flatten(2).sum(-1).mean()


def soft_loss(
    teacher: MultiViewGenerator,
    latents: Tensor,
    condition: Tree,
    settings: Asd,
    noise: Tensor,
    randoms: Sequence[torch.Generator],
    fake: Score | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw timesteps, evaluate the teacher; the student's surrogate loss, and the distance (B, V) to it.

    Args:
        teacher: evaluated with its adapters off.
        latents: the student's clean ones (B, V, C, h, w).
        condition: what both networks see besides.
        settings: of the mode, whichever it is.
        noise: standard normal (B, V, C, h, w).
        randoms: of the timesteps, one an object.
        fake: the score of the student's samples, in mode fake_score.
    """
    t, t_plus = draw_timesteps(randoms, settings, SD_TIMESTEPS)
    like = teacher.schedule.like
    draw = AsdDraw(like(t.to(latents.device)), like(t_plus.to(latents.device)), noise)
    gradient, distance = asd_gradient(teacher, latents, condition, draw, settings, fake)
    return surrogate_loss(latents, gradient), distance
