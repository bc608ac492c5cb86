"""ASD on a teacher whose score is known exactly: the gradient's sign, its noise, its modes, its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from aligncvc.align.asd import AsdDraw, asd_gradient, draw_timesteps, soft_loss, surrogate_loss
from aligncvc.config.jobs.align import Asd
from aligncvc.models.generators.base import MultiViewGenerator, Prediction
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.streams import torch_stream

SHAPE = (2, 4, 3, 4, 4)  # B, V, C, h, w
CONDITION = torch.zeros(2, 1)


class GaussianTeacher(MultiViewGenerator):
    """Exact eps of data N(mean, std^2); the unconditional branch knows only N(0, std^2)."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.schedule = AlphaSchedule.scaled_linear()
        self.calls: list[tuple[Tensor, Tensor, float]] = []
        self.adapters = True
        self.adapters_seen: list[tuple[bool, bool]] = []

    def _eps(self, z: Tensor, timesteps: Tensor, mean: float) -> Tensor:
        a, s = self.schedule.signal_noise(timesteps)
        return s * (z - a * mean) / (a.square() * self.std**2 + s.square())

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        return self._eps(z_t, timesteps, self.mean)

    def predict(self, z_t: Tensor, timesteps: Tensor, condition: Tensor, guidance: float = 1.0) -> Prediction:
        self.calls.append((z_t, timesteps, guidance))
        self.adapters_seen.append((self.adapters, torch.is_grad_enabled()))
        free = self._eps(z_t, timesteps, 0.0)
        eps = free + guidance * (self._eps(z_t, timesteps, self.mean) - free)
        a, s = self.schedule.signal_noise(timesteps)
        return Prediction(x0=(z_t - s * eps) / a, eps=eps)

    @contextmanager
    def adapters_off(self) -> Iterator[None]:
        self.adapters = False
        yield
        self.adapters = True

    @property
    def denoiser(self) -> torch.nn.Module:
        return torch.nn.Identity()

    def parts(self) -> dict[str, torch.nn.Module]:
        return {}

    def unconditional(self, condition: Tensor) -> Tensor:
        return condition

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        return Prediction(self.schedule.implied_noise(z_t, raw, timesteps), raw)

    def encode_condition(self, image: Tensor, cameras: Tensor) -> Tensor:
        return CONDITION

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        return (views, *SHAPE[2:])


def randoms(*names: object, count: int = 2) -> list[torch.Generator]:
    return [torch_stream(0, *names, i) for i in range(count)]


def noise(*names: object) -> Tensor:
    return torch.randn(SHAPE, generator=torch_stream(1, *names))


def fit_student(settings: Asd, sign: float = 1.0, steps: int = 300) -> tuple[Tensor, Tensor]:
    """Train a Gaussian student (mean, std) against N(0.8, 0.5^2); return its mean and std."""
    teacher = GaussianTeacher(0.8, 0.5)
    mean = torch.nn.Parameter(torch.tensor(-1.0))
    log_std = torch.nn.Parameter(torch.tensor(0.5).log())
    optimiser = torch.optim.Adam([mean, log_std], lr=0.02)
    for i in range(steps):
        latents = mean + log_std.exp() * noise("z", i)
        loss = sign * soft_loss(teacher, latents, CONDITION, settings, noise("asd", i), randoms("t", i))[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return mean.detach(), log_std.exp().detach()


@pytest.mark.parametrize("dmd", [True, False])
def test_student_reaches_the_teachers_mean(dmd: bool) -> None:
    mean, _ = fit_student(Asd(guidance_scale=1.0, dmd_normalise=dmd))
    assert abs(float(mean) - 0.8) < 0.1


def test_reversed_sign_moves_away() -> None:
    mean, _ = fit_student(Asd(guidance_scale=1.0), sign=-1.0, steps=60)
    assert float(mean) < -1.3


def test_official_mode_has_zero_gradient_and_ours_has_not() -> None:
    teacher = GaussianTeacher(0.8, 0.5)
    latents = noise("z").requires_grad_(True)
    for settings, zero in ((Asd(mode="official"), True), (Asd(mode="asd"), False)):
        latents.grad = None
        soft_loss(teacher, latents, CONDITION, settings, noise("n"), randoms("t"))[0].backward()
        assert latents.grad is not None
        assert (float(latents.grad.abs().max()) == 0.0) == zero


def test_eta_zero_with_unguided_second_term_still_learns() -> None:
    latents = noise("z").requires_grad_(True)
    settings = Asd(eta=0.0, guidance_scale=1.3)
    teacher = GaussianTeacher(0.8, 0.5)
    soft_loss(teacher, latents, CONDITION, settings, noise("n"), randoms("t"))[0].backward()
    assert latents.grad is not None and float(latents.grad.abs().min()) > 0


def test_both_terms_share_the_noise_and_only_the_first_is_guided() -> None:
    teacher = GaussianTeacher(0.8, 0.5)
    z, n = noise("z"), noise("n")
    draw = AsdDraw(torch.tensor([600, 900]), torch.tensor([620, 930]), n)
    asd_gradient(teacher, z, CONDITION, draw, Asd(guidance_scale=1.3))
    (z_t, t, first_scale), (z_plus, t_plus, second_scale) = teacher.calls
    assert (first_scale, second_scale) == (1.3, 1.0)
    assert t.tolist() == [600, 900] and t_plus.tolist() == [620, 930]
    for noisy, steps in ((z_t, t), (z_plus, t_plus)):
        a, s = teacher.schedule.signal_noise(steps)
        torch.testing.assert_close((noisy - a * z) / s, n, atol=1e-4, rtol=1e-4)


def test_the_teacher_runs_without_adapters_and_without_gradient() -> None:
    teacher = GaussianTeacher(0.8, 0.5)
    latents = noise("z").requires_grad_(True)
    loss, _ = soft_loss(teacher, latents, CONDITION, Asd(), noise("n"), randoms("t"))
    assert teacher.adapters_seen == [(False, False), (False, False)] and teacher.adapters
    assert loss.requires_grad


def test_dmd_weight_uses_the_noisy_latents() -> None:
    """For a student that sits on the teacher's x0, |z - x0(z_t)| is small, and the weight is 1 / floor."""
    teacher = GaussianTeacher(0.8, 1e-3)
    z = torch.full(SHAPE, 0.8)
    draw = AsdDraw(torch.tensor([600, 900]), torch.tensor([640, 940]), noise("n"))
    gradient, distance = asd_gradient(teacher, z, CONDITION, draw, Asd(guidance_scale=1.0))
    plain, same = asd_gradient(teacher, z, CONDITION, draw, Asd(guidance_scale=1.0, dmd_normalise=False))
    assert distance.shape == SHAPE[:2] and float(distance.max()) < 0.01 and torch.equal(distance, same)
    a, s = teacher.schedule.signal_noise(draw.t)
    torch.testing.assert_close(gradient, plain / (a * s) / 0.1, rtol=1e-2, atol=1e-4)


def test_surrogate_gradient_is_the_gradient_over_objects_and_views() -> None:
    z, g = noise("z").requires_grad_(True), noise("g")
    surrogate_loss(z, g).backward()
    torch.testing.assert_close(z.grad, g / (SHAPE[0] * SHAPE[1]))


def test_timesteps_stay_in_range_and_respect_eta() -> None:
    t, plus = draw_timesteps(randoms("many", count=3000), Asd(), 1000)
    assert 500 <= int(t.min()) < 510 and 970 < int(t.max()) <= 980
    shift = plus - t
    assert bool((shift >= 0).all()) and bool((shift <= 0.1 * (t - 500)).all()) and int(shift.max()) >= 40
    assert int(plus.max()) <= 999
    late = draw_timesteps(randoms("late", count=500), Asd(t_min=0.9, t_max=1.0, eta=1.0), 1000)[1]
    assert int(late.max()) == 999


def test_the_second_timestep_is_later_by_what_the_settings_say() -> None:
    settings = Asd(eta=0.5, t_floor=0.02, least_dt=1)
    t, plus = draw_timesteps(randoms("many", count=3000), settings, 1000)
    shift = plus - t
    same_t, _ = draw_timesteps(randoms("many", count=3000), Asd(), 1000)
    assert torch.equal(t, same_t), "neither moves the first timestep"
    assert bool((shift <= (0.5 * (t - 20)).clamp_min(1)).all()) and int(plus.max()) == 999
    assert float(shift.double().mean()) > 100, "eta (t - 20) / 2 on average, cut at 999"
    # as it was: t = 500 has no later one, and others draw none
    plain = draw_timesteps(randoms("many", count=3000), Asd(), 1000)
    apart = draw_timesteps(randoms("many", count=3000), Asd(least_dt=1), 1000)
    assert int((plain[1] - plain[0]).min()) == 0 and int((apart[1] - apart[0]).min()) == 1
    kept = plain[1] > plain[0]
    assert torch.equal(apart[1][kept], plain[1][kept])


def test_timesteps_do_not_depend_on_the_batch() -> None:
    together = draw_timesteps(randoms("x"), Asd(), 1000)
    alone = draw_timesteps(randoms("x")[1:], Asd(), 1000)
    assert together[0][1] == alone[0][0] and together[1][1] == alone[1][0]


def test_guidance_moves_the_fixed_point_as_docs_method_says() -> None:
    """Unguided, the two terms differ by about 3.5 % of the first, so a guidance of 1 + x weighs x / 0.035."""
    mean, _ = fit_student(Asd(guidance_scale=1.02, dmd_normalise=False), steps=500)
    assert abs(float(mean) - 0.8 * (1 + 0.02 / 0.0352)) < 0.12
