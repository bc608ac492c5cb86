"""The one loop: its steps, its gradients, what it feeds back in the paper's rule and in the baseline."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_world import sample_job, tiny_pair
from torch import Tensor

from aligncvc.loop.aligncvc import FEEDBACK as ALIGNCVC
from aligncvc.loop.cost import Stopwatch, counted_calls
from aligncvc.loop.feedback import Feedback
from aligncvc.loop.two_stage import FEEDBACK as TWO_STAGE
from aligncvc.loop.unroll import Loop, Sampled, clamp_straight_through, sample, unroll, view_noise
from aligncvc.models.generators.schedules import AlphaSchedule, SigmaSchedule
from aligncvc.models.pair import PairOfModels, load_pretrained
from aligncvc.sample.sets import sample_one
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import RenderSet, batched

Rig = tuple[Tensor, Cameras]


def loop_of(pair: PairOfModels, cameras: list[Cameras], names: str = "a", **options: Any) -> Loop:
    shape = pair.generator.latent_shape(len(cameras[0]))

    def noise(index: int, _: object) -> Tensor:
        return torch.stack([view_noise(shape, 0, name, index) for name in names])

    return Loop(pair, batched(cameras), **{"guidance": 1.3, "noise": noise, **options})


def sampled(pair: PairOfModels, rig: Rig, feedback: Feedback, times: list[int], **options: Any) -> Sampled:
    return sample(loop_of(pair, [rig[1]], **options), feedback, rig[0], times)


def test_clamp_keeps_the_gradient() -> None:
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    y = clamp_straight_through(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(x.grad, torch.ones(3))


def test_view_noise_depends_on_names_only() -> None:
    a = view_noise((4, 2, 3, 3), 0, "sample", "chair", 1)
    assert torch.equal(a[:2], view_noise((2, 2, 3, 3), 0, "sample", "chair", 1))
    for other in (("sample", "chair", 2), ("sample", "table", 1)):
        assert not torch.equal(a, view_noise((4, 2, 3, 3), 0, *other))
    assert abs(float(view_noise((4, 4, 16, 16), 0, "x").std()) - 1) < 0.05


def test_two_objects_together_are_what_each_is_alone(pair: PairOfModels, renders: Path) -> None:
    """Rows, cameras and Gaussians are not mixed up."""
    rigs = {name: RenderSet(renders, 32).load(name).rig_from(0) for name in "ab"}

    def second_step(names: str) -> tuple[Tensor, Tensor]:
        images = torch.stack([rigs[name][0][0] for name in names])
        loop = loop_of(pair, [rigs[name][1] for name in names], names)
        *_, (state, step) = unroll(loop, ALIGNCVC, images, [999, 749])
        assert state.now == 749 and step.look is not None
        views, renderings = step.look.views, step.look.renderings
        assert views.shape == renderings.shape == (len(names), 4, 3, 32, 32)
        assert float(views.min()) >= 0 and float(views.max()) <= 1
        return views, renderings

    for both, one in zip(second_step("ab"), second_step("b"), strict=True):
        torch.testing.assert_close(both[1:], one, atol=1e-4, rtol=1e-4)


def test_gradient_begins_where_it_is_asked_for(pair: PairOfModels, rig: Rig) -> None:
    generator = pair.generator.requires_grad_(True)
    try:
        for grad_3d in (True, False):
            loop = loop_of(pair, [rig[1]], grad_3d=grad_3d)
            steps = unroll(loop, ALIGNCVC, rig[0][None], [999, 749, 599], grad_from=1)
            (_, first), (state, second) = islice(steps, 2)
            assert first.look is not None and second.look is not None
            assert not first.prediction.x0.requires_grad and not first.look.renderings.requires_grad
            assert second.prediction.x0.requires_grad and second.look.renderings.requires_grad == grad_3d
            assert not state.z.requires_grad and second.look.views.requires_grad
        steps = unroll(loop, ALIGNCVC, rig[0][None], [999])
        assert not any(step.prediction.x0.requires_grad for _, step in steps)
    finally:
        generator.requires_grad_(False)


def test_the_papers_rule_renoises_renderings_with_fresh_noise(
    pair: PairOfModels, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    noised: list[tuple[Tensor, Tensor, int]] = []
    schedule, generator = pair.generator.schedule, pair.generator
    real = schedule.add_noise

    def spy(x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        noised.append((x0, noise, int(timesteps[0])))
        return real(x0, noise, timesteps)

    monkeypatch.setattr(schedule, "add_noise", spy)
    found = sampled(pair, rig, ALIGNCVC, [999, 749, 599, 299])
    assert [t for _, _, t in noised] == [749, 599, 299]
    for step, (x0, _, _) in enumerate(noised):
        torch.testing.assert_close(x0, generator.encode(found.renderings[step][None]))
    noises = [noise for _, noise, _ in noised]
    assert not torch.equal(noises[0], noises[1]) and not torch.equal(noises[1], noises[2])
    assert found.views.shape == found.renderings.shape == (4, 4, 3, 32, 32)
    assert found.timesteps == [999, 749, 599, 299] and found.gaussians.means.dim() == 2
    x0, noise, _ = noised[1]
    abar = schedule.alphas_cumprod[599]
    torch.testing.assert_close(
        real(x0, noise, torch.tensor([599])), abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    )


@pytest.mark.parametrize("feedback", ["aligncvc", "two_stage"])
def test_bit_identical_by_name_and_seed(pair: PairOfModels, rig: Rig, feedback: str) -> None:
    job = sample_job(feedback, 2)

    def run(seed: int, name: str) -> Tensor:
        torch.manual_seed(hash((seed, name)) % 1000)  # the global generator must not matter
        found, _ = sample_one(pair, job, *rig, seed, name)
        return torch.cat([found.gaussians.means.flatten(), found.views.flatten()])

    first, other = run(0, "a"), run(0, "b")
    assert torch.equal(first, run(0, "a"))
    assert not torch.equal(first, other) and not torch.equal(first, run(1, "a"))


@pytest.mark.parametrize(
    ("feedback", "steps", "guidance", "calls"),
    [("aligncvc", 4, 1.3, 8), ("aligncvc", 3, 1.0, 3), ("two_stage", 6, 1.3, 12), ("two_stage", 6, 1.0, 6)],
)
def test_network_calls_and_measured_parts(
    pair: PairOfModels, rig: Rig, feedback: str, steps: int, guidance: float, calls: int
) -> None:
    _, cost = sample_one(pair, sample_job(feedback, steps, guidance=guidance), *rig, 0, "a")
    assert cost.network_calls == calls
    assert cost.peak_mb > 50 and cost.cpu_seconds > 0
    assert cost.seconds == pytest.approx(sum(cost.seconds_by_part.values()))
    parts = {"generator", "decode", "reconstruct", "render", "encode"}
    assert set(cost.seconds_by_part) == parts and min(cost.seconds_by_part.values()) > 0


def test_looks_for_the_record_are_not_measured(pair: PairOfModels, rig: Rig) -> None:
    class Counting(Stopwatch):
        def __init__(self) -> None:
            super().__init__()
            self.counted: list[str] = []

        def __call__(self, part: str) -> Any:
            if not self._paused:
                self.counted.append(part)
            return super().__call__(part)

    for feedback, looks in ((TWO_STAGE, 1), (ALIGNCVC, 6)):
        watch = Counting()
        sampled(pair, rig, feedback, feedback.times(pair.generator.schedule, 6, None), watch=watch)
        found = [watch.counted.count(part) for part in ("decode", "reconstruct", "render")]
        assert found == [looks] * 3


def test_both_domains_count_once(rig: Rig) -> None:
    both = {"domains": "both", "unet": {"cross_domain": True}}
    job = sample_job(steps=2, generator=both, guidance=1.0)
    assert sample_one(load_pretrained(job.pair), job, *rig, 0, "a")[1].network_calls == 2


@pytest.mark.parametrize("feedback", ["aligncvc", "two_stage"])
def test_guidance_is_the_jobs(pair: PairOfModels, rig: Rig, feedback: str) -> None:
    def views(guidance: float | None) -> Tensor:
        return sample_one(pair, sample_job(feedback, 2, guidance=guidance), *rig, 0, "a")[0].views

    general = views(None)
    assert torch.equal(views(pair.spec.guidance), general)
    assert not torch.equal(views(4.0), general)


def test_kept_steps() -> None:
    assert TWO_STAGE.kept(50) == [11, 24, 37, 49]
    assert TWO_STAGE.kept(4) == [0, 1, 2, 3]
    assert TWO_STAGE.kept(2) == [0, 1]
    assert TWO_STAGE.kept(1) == [0]
    assert ALIGNCVC.kept(8) == list(range(8))


def test_two_stage_keeps_four_steps_and_starts_like_the_aware_loop(pair: PairOfModels, rig: Rig) -> None:
    def steps(count: int) -> Sampled:
        return sampled(pair, rig, TWO_STAGE, TWO_STAGE.times(pair.generator.schedule, count, None))

    eight, four = steps(8), steps(4)
    assert eight.views.shape == eight.renderings.shape == (4, 4, 3, 32, 32)
    assert eight.timesteps == [874, 624, 374, 124] and four.timesteps == [999, 749, 499, 249]
    aware = sampled(pair, rig, ALIGNCVC, [999])
    torch.testing.assert_close(four.views[0], aware.views[0])  # same noise, same first prediction


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddim_ends_at_the_point_that_the_network_knows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, prediction: str
) -> None:
    """A network that always predicts one clean point: DDIM must arrive there in any parametrisation."""
    pair = load_pretrained(tiny_pair(generator={"unet": {"prediction": prediction}}))
    generator = pair.generator
    point = torch.linspace(-1, 1, 4 * 4 * 8 * 8).view(1, 4, 4, 8, 8)

    def exact(z_t: Tensor, timesteps: Tensor, _: object) -> Tensor:
        a, s = generator.schedule.signal_noise(timesteps)
        eps = (z_t - a * point) / s
        return eps if prediction == "epsilon" else a * eps - s * point

    monkeypatch.setattr(generator, "raw_prediction", exact)
    decoded: list[Tensor] = []
    real = generator.decode
    monkeypatch.setattr(generator, "decode", lambda z: decoded.append(z) or real(z))
    times = generator.schedule.times(5)
    sampled(pair, rig, TWO_STAGE, times, guidance=1.0)
    torch.testing.assert_close(decoded[-1], point, atol=1e-4, rtol=1e-4)


def test_deterministic_steps_are_ddims_to_the_bit() -> None:
    schedule = AlphaSchedule.scaled_linear()
    theirs: Any = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        prediction_type="v_prediction", timestep_spacing="trailing", set_alpha_to_one=True,
    )  # fmt: skip
    assert torch.equal(schedule.alphas_cumprod, theirs.alphas_cumprod)
    theirs.set_timesteps(50)
    times = schedule.times(50)
    assert times == theirs.timesteps.tolist() and schedule.times(3) == [999, 666, 332]
    z, x0, eps = (view_noise((1, 4, 4, 8, 8), 0, name) for name in ("z", "x0", "eps"))
    for now, following in ((times[0], times[1]), (times[20], times[21]), (times[-1], None)):
        t = torch.tensor([now])
        a, s = schedule.signal_noise(t)
        expected = theirs.step(a * eps - s * x0, now, z).prev_sample
        end = None if following is None else torch.tensor([following])
        assert torch.equal(schedule.step(z, x0, eps, t, end), expected)


def test_sigmas_take_eulers_steps() -> None:
    schedule = SigmaSchedule()
    times = schedule.times(50)
    sigma = [float(schedule.signal_noise(torch.tensor([t]))[1]) for t in times]
    assert sigma[0] == pytest.approx(700, rel=1e-5) and sigma[-1] == pytest.approx(0.002, rel=1e-4)
    assert times[0] == pytest.approx(1.6378, abs=1e-4) and times[-1] == pytest.approx(-1.5537, abs=1e-4)
    noise, x0 = (view_noise((1, 4, 4, 8, 8), 0, name) for name in ("n", "x0"))
    assert float(schedule.start(noise, times[0]).std()) == pytest.approx(700 * float(noise.std()), rel=1e-3)
    now, following = (torch.tensor([t]) for t in times[30:32])
    z = schedule.add_noise(x0, noise, now)
    eps = schedule.implied_noise(z, x0, now)
    torch.testing.assert_close(eps, noise, atol=1e-4, rtol=1e-4)
    euler = z + (sigma[31] - sigma[30]) * (z - x0) / sigma[30]
    torch.testing.assert_close(schedule.step(z, x0, eps, now, following), euler, atol=1e-4, rtol=1e-4)
    assert torch.equal(schedule.step(z, x0, eps, now, None), x0)


def test_stopwatch_counts_parts_and_skips_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 20.0, 22.0, 30.0, 34.0])  # begin and end of each part
    computed = iter([1.0, 3.0, 5.0, 9.0, 10.0, 20.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: next(computed))
    watch = Stopwatch()
    for _ in range(2):
        with watch("a"):
            pass
    with watch.paused(), watch("b"):
        pass
    assert watch.total == 3.0 and list(watch.seconds) == ["a"] and watch.cpu_seconds == 6.0


def test_calls_are_no_longer_counted_afterwards(pair: PairOfModels, rig: Rig) -> None:
    with counted_calls(pair.generator.denoiser, 4) as calls:
        pass
    sampled(pair, rig, ALIGNCVC, [999], guidance=1.0)
    assert calls == [0]
