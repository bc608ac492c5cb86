"""The fake score: exact ones against exact gradients, a learned one of every kind, and runs that have it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from test_asd import CONDITION, GaussianTeacher, noise, randoms
from tiny_world import align_job
from torch import Tensor

from aligncvc.align.asd import AsdDraw, Score, asd_gradient, draw_timesteps, soft_loss
from aligncvc.align.batches import draw_batch
from aligncvc.align.fake_score import FAKE
from aligncvc.align.train import train
from aligncvc.align.trainer import Trainer
from aligncvc.config.jobs.align import Asd
from aligncvc.errors import UserError
from aligncvc.models.generators.schedules import AlphaSchedule
from aligncvc.models.pair import Aligned, load_pair, lora_parameters
from aligncvc.scene.renderset import RenderSet

DRAW = AsdDraw(torch.tensor([600, 900]), torch.tensor([600, 900]), noise("n"))


def exact(mean: float, std: float) -> Score:
    """The score of N(mean, std^2), with no memory of who asked."""
    return GaussianTeacher(mean, std).predict


def posterior_mean(z_t: Tensor, t: Tensor, mean: float, std: float) -> Tensor:
    """E[x0 | z_t] of x0 ~ N(mean, std^2), by the formula for two Gaussians."""
    abar = AlphaSchedule.scaled_linear().alphas_cumprod[t].view(-1, 1, 1, 1, 1)
    share = abar.sqrt() * std**2 / (abar * std**2 + 1 - abar)
    return mean + share * (z_t - abar.sqrt() * mean)


def test_the_gradient_is_the_difference_of_two_x0_over_the_distance_to_the_teachers() -> None:
    z, settings = noise("z"), Asd(mode="fake_score")
    abar = AlphaSchedule.scaled_linear().alphas_cumprod[DRAW.t].view(-1, 1, 1, 1, 1)
    z_t = abar.sqrt() * z + (1 - abar).sqrt() * DRAW.noise
    teachers, fakes = posterior_mean(z_t, DRAW.t, 0.8, 0.5), posterior_mean(z_t, DRAW.t, -0.3, 1.2)
    distance = (z - teachers).abs().mean((2, 3, 4), keepdim=True)
    found, told = asd_gradient(GaussianTeacher(0.8, 0.5), z, CONDITION, DRAW, settings, exact(-0.3, 1.2))
    torch.testing.assert_close(found, (fakes - teachers) / (distance + 0.1), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(told, distance.flatten(1), rtol=1e-4, atol=1e-4)
    plain = settings.model_copy(update={"dmd_normalise": False})
    found, _ = asd_gradient(GaussianTeacher(0.8, 0.5), z, CONDITION, DRAW, plain, exact(-0.3, 1.2))
    wanted = (1 - abar) * (abar / (1 - abar)).sqrt() * (fakes - teachers)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_only_the_teacher_is_guided_and_both_see_the_same_latents() -> None:
    teacher, fake = GaussianTeacher(0.8, 0.5), GaussianTeacher(0.8, 0.5)
    asd_gradient(
        teacher, noise("z"), CONDITION, DRAW, Asd(mode="fake_score", guidance_scale=1.3), fake.predict
    )
    ((seen, t, guidance),), ((also, t_too, unguided),) = teacher.calls, fake.calls
    assert torch.equal(seen, also) and torch.equal(t, t_too) and (guidance, unguided) == (1.3, 1.0)
    assert teacher.adapters_seen == [(False, False)] and fake.adapters_seen == [(True, False)]


def test_a_fake_score_that_is_the_teachers_gives_exactly_no_gradient() -> None:
    settings = Asd(mode="fake_score")
    found, _ = asd_gradient(GaussianTeacher(0.8, 0.5), noise("z"), CONDITION, DRAW, settings, exact(0.8, 0.5))
    assert not bool(found.any())
    other, _ = asd_gradient(GaussianTeacher(0.8, 0.5), noise("z"), CONDITION, DRAW, settings, exact(0.8, 0.6))
    assert float(other.abs().min()) > 0


def fitted(settings: Asd, fake: Callable[[float, float], Score | None]) -> tuple[float, float]:
    """Mean and standard deviation of a Gaussian student after training against N(0.8, 0.5^2)."""
    mean = torch.nn.Parameter(torch.tensor(-1.0))
    log_std = torch.nn.Parameter(torch.tensor(1.0).log())
    optimiser = torch.optim.Adam([mean, log_std], lr=0.02)
    for i in range(600):
        latents = mean + log_std.exp() * noise("z", i)
        own = fake(float(mean.detach()), float(log_std.detach().exp()))
        teacher, shared = GaussianTeacher(0.8, 0.5), (noise("asd", i), randoms("t", i))
        loss, _ = soft_loss(teacher, latents, CONDITION, settings, *shared, own)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(mean.detach()), float(log_std.detach().exp())


def test_with_the_students_own_score_its_spread_becomes_the_teachers_which_asd_loses() -> None:
    mean, std = fitted(Asd(mode="fake_score"), exact)
    assert abs(mean - 0.8) < 0.05 and abs(std - 0.5) < 0.05
    _, std = fitted(Asd(), lambda mean, std: None)
    assert std < 0.1


def test_times_are_those_of_soft_alignment() -> None:
    many = randoms("many", count=500)
    t, plus = draw_timesteps(many, Asd(mode="fake_score", t_min=0.2, t_max=0.4), 1000)
    assert torch.equal(t, plus) and 200 <= int(t.min()) < 205 and 395 < int(t.max()) <= 400


def make(renders: Path, run: str = "soft", **asd: object) -> Trainer:
    job = align_job(run, asd={"mode": "fake_score", **asd})
    return Trainer(job, RenderSet(renders, 32), Accelerator(cpu=True))


def test_a_step_trains_both_adapters_and_neither_learns_from_the_others_loss(renders: Path) -> None:
    trainer = make(renders)
    assert trainer.fake is not None
    student = {n: p.detach().clone() for n, p in trainer.lora.items()}
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition, latents, _ = trainer.roll_out(batch, 2)
    record = trainer.fake_step(batch, condition, latents)
    assert record["loss_fake"] > 0 and record["grad_fake"] > 0
    assert all(p.grad is None and torch.equal(p, student[n]) for n, p in trainer.lora.items())
    assert any(bool(p.any()) for n, p in trainer.fake.parameters.items() if "lora_B" in n)
    fake = {n: p.detach().clone() for n, p in trainer.fake.parameters.items()}
    gradients = {n: p.grad for n, p in trainer.fake.parameters.items()}
    losses, _ = trainer.losses(batch, condition, latents, trainer.roll_out(batch, 2)[2], 0)
    losses["soft"].backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in trainer.lora.values())
    assert all(p.grad is gradients[n] and torch.equal(p, fake[n]) for n, p in trainer.fake.parameters.items())
    assert all(p.requires_grad for p in trainer.lora.values()), "the student goes on learning"


def test_before_its_first_update_the_student_has_no_gradient(renders: Path) -> None:
    """With B = 0 the fake score is the teacher to the bit, also under bfloat16 around it."""
    trainer = make(renders)
    assert trainer.fake is not None
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition, latents, _ = trainer.roll_out(batch, 1)
    draw = AsdDraw(torch.tensor([600, 900]), torch.tensor([600, 900]), torch.randn(latents.shape))
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = asd_gradient(trainer.teacher, latents, condition, draw, trainer.asd, trainer.fake)
        trainer.fake_step(batch, condition, latents)
        after, _ = asd_gradient(trainer.teacher, latents, condition, draw, trainer.asd, trainer.fake)
    assert not bool(found.any()) and bool(after.any()) and after.dtype == torch.float32


def test_it_is_as_often_trained_as_the_settings_say_and_as_large(renders: Path) -> None:
    trainer = make(renders, fake={"updates": 3, "rank": 2, "lr": 1e-3})
    trainer.step(0)
    assert trainer.fake is not None and trainer.fake.optimiser.param_groups[0]["lr"] == 1e-3
    states = trainer.fake.optimiser.state.values()
    assert {int(state["step"]) for state in states} == {3}
    ranks = {p.shape[0] for n, p in trainer.fake.parameters.items() if "lora_A" in n}
    assert ranks == {2} and {p.shape[0] for n, p in trainer.lora.items() if "lora_A" in n} == {4}
    assert lora_parameters(trainer.generator).keys() == trainer.lora.keys() == trainer.fake.parameters.keys()


def test_only_runs_with_soft_alignment_have_one(renders: Path) -> None:
    trainer = make(renders, "hard")
    assert trainer.fake is None and "fake" not in trainer.parts
    assert not any(f".{FAKE}." in name for name, _ in trainer.generator.named_parameters())


def test_a_stopped_run_goes_on_to_the_same_bytes_and_the_result_is_the_student_alone(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = align_job(steps=3, save_every=1, asd={"mode": "fake_score"})
    train(job, renders, tmp_path / "straight")
    whole, upcoming = Trainer.step, [0, 1, 2]

    def interrupted(self: Trainer, index: int) -> dict[str, float]:
        record = whole(self, index)
        if upcoming and index == upcoming[0]:
            upcoming.pop(0)
            raise KeyboardInterrupt
        return record

    monkeypatch.setattr(Trainer, "step", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train(job, renders, tmp_path / "stopped")
    state = torch.load(tmp_path / "stopped/state/state.pt", weights_only=True)["parts"]
    assert any(bool(value.any()) for name, value in state["fake"].items() if "lora_B" in name)
    train(job, renders, tmp_path / "stopped")
    for name in ("student.safetensors", "recon.safetensors"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()
    pair = load_pair(job.pair, aligned=Aligned.in_folder(tmp_path / "straight"))
    assert (
        load_file(tmp_path / "straight/student.safetensors").keys() == lora_parameters(pair.generator).keys()
    )
    assert not any(FAKE in name for name in pair.generator.state_dict())


def test_a_loss_that_is_not_finite_is_said_in_a_sentence(renders: Path) -> None:
    trainer = make(renders)
    batch = draw_batch(trainer.renders, 0, 0, range(2), "cpu")
    condition, latents, _ = trainer.roll_out(batch, 1)
    with pytest.raises(UserError, match=r"the fake score diverged \(loss nan\); lower align.asd.fake.lr"):
        trainer.fake_step(batch, condition, latents * float("nan"))
