"""Both samplers: what is re-noised, what is kept, what is counted, what the result depends on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from tiny_world import tiny_settings
from torch import Tensor

from aligncvc.config.sections import Config, Method, parse_config
from aligncvc.loop.aligncvc import sample_aligncvc
from aligncvc.loop.cost import Stopwatch, counted_calls
from aligncvc.loop.two_stage import ddim_scheduler, kept_steps, sample_two_stage
from aligncvc.models.generators import Condition, MultiViewGenerator, build_generator
from aligncvc.models.pair import load_pair, seeded
from aligncvc.sample.batch import sample_one
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import RenderSet

Pair = tuple[MultiViewGenerator, torch.nn.Module]


@pytest.fixture(scope="module")
def pair(config: Config) -> Pair:
    return load_pair(config)


@pytest.fixture(scope="module")
def rig(renders: Path) -> tuple[Tensor, Cameras]:
    images, cameras = RenderSet(renders, 32).load("a").rig_from(0)
    return images[0], cameras


def test_the_loop_renoises_renderings_with_fresh_noise(
    pair: Pair, rig: tuple[Tensor, Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, reconstructor = pair
    noised: list[tuple[Tensor, Tensor, int]] = []
    real = generator.add_noise

    def spy(x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        noised.append((x0, noise, int(timesteps[0])))
        return real(x0, noise, timesteps)

    monkeypatch.setattr(generator, "add_noise", spy)
    sampled = sample_aligncvc(generator, reconstructor, *rig, [999, 749, 599, 299], 1.3, 0, "a", Stopwatch())
    assert [t for _, _, t in noised] == [749, 599, 299]
    for step, (x0, _, _) in enumerate(noised):
        torch.testing.assert_close(x0, generator.encode(sampled.renderings[step][None]))
    noises = [noise for _, noise, _ in noised]
    assert not torch.equal(noises[0], noises[1]) and not torch.equal(noises[1], noises[2])
    assert sampled.views.shape == sampled.renderings.shape == (4, 4, 3, 32, 32)
    assert sampled.timesteps == [999, 749, 599, 299]
    assert sampled.gaussians.means.dim() == 2


@pytest.mark.parametrize("sampler", ["aligncvc", "two_stage"])
def test_bit_identical_by_name_and_seed(
    pair: Pair, rig: tuple[Tensor, Cameras], config: Config, sampler: str
) -> None:
    def run(seed: int, name: str) -> Tensor:
        torch.manual_seed(hash((seed, name)) % 1000)  # the global generator must not matter
        sampled, _ = sample_one(*pair, Method(sampler=sampler, steps=2), config, *rig, seed, name)
        return torch.cat([sampled.gaussians.means.flatten(), sampled.views.flatten()])

    first = run(0, "a")
    other = run(0, "b")
    assert torch.equal(first, run(0, "a"))
    assert not torch.equal(first, other) and not torch.equal(first, run(1, "a"))


@pytest.mark.parametrize(
    ("sampler", "steps", "scale", "calls"),
    [
        ("aligncvc", 4, 1.3, 8),
        ("aligncvc", 3, 1.0, 3),
        ("two_stage", 6, 1.3, 12),
        ("two_stage", 6, 1.0, 6),
    ],
)
def test_network_calls(
    pair: Pair, rig: tuple[Tensor, Cameras], sampler: str, steps: int, scale: float, calls: int
) -> None:
    data = tiny_settings()
    data["mvg"]["guidance_scale"] = scale  # type: ignore[index]
    _, cost = sample_one(*pair, Method(sampler=sampler, steps=steps), parse_config(data, "t"), *rig, 0, "a")
    assert cost.network_calls == calls
    assert cost.peak_mb > 50
    assert cost.seconds == pytest.approx(sum(cost.seconds_by_part.values()))
    parts = {"generator", "decode", "reconstruct", "render", "encode"}
    assert set(cost.seconds_by_part) == parts and min(cost.seconds_by_part.values()) > 0


@pytest.mark.parametrize("sampler", ["aligncvc", "two_stage"])
def test_a_method_may_have_its_own_guidance(
    pair: Pair, rig: tuple[Tensor, Cameras], config: Config, sampler: str
) -> None:
    def views(**settings: float) -> Tensor:
        method = Method(sampler=sampler, steps=2, **settings)  # type: ignore[arg-type]
        return sample_one(*pair, method, config, *rig, 0, "a")[0].views

    general = views()
    assert torch.equal(views(guidance_scale=config.mvg.guidance_scale), general)
    assert not torch.equal(views(guidance_scale=4.0), general)
    cost = sample_one(*pair, Method(sampler=sampler, steps=2, guidance_scale=1.0), config, *rig, 0, "a")[1]
    assert cost.network_calls == 2


def test_kept_steps() -> None:
    assert kept_steps(50) == [11, 24, 37, 49]
    assert kept_steps(4) == [0, 1, 2, 3]
    assert kept_steps(2) == [0, 1]
    assert kept_steps(1) == [0]


def test_two_stage_keeps_four_steps_and_starts_like_the_aware_loop(
    pair: Pair, rig: tuple[Tensor, Cameras]
) -> None:
    two = sample_two_stage(*pair, *rig, 8, 1.3, 0, "a", Stopwatch())
    assert two.views.shape == two.renderings.shape == (4, 4, 3, 32, 32)
    assert two.timesteps == [874, 624, 374, 124]
    four = sample_two_stage(*pair, *rig, 4, 1.3, 0, "a", Stopwatch())
    aware = sample_aligncvc(*pair, *rig, [999], 1.3, 0, "a", Stopwatch())
    assert four.timesteps == [999, 749, 499, 249]
    torch.testing.assert_close(four.views[0], aware.views[0])  # same noise, same first prediction


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ddim_ends_at_the_point_that_the_network_knows(
    rig: tuple[Tensor, Cameras], pair: Pair, monkeypatch: pytest.MonkeyPatch, prediction: str
) -> None:
    """A network that always predicts one clean point: DDIM must arrive there in any parametrisation."""
    data = tiny_settings()
    data["mvg"]["unet"]["prediction"] = prediction  # type: ignore[index]
    config = parse_config(data, "t")
    generator = seeded(lambda: build_generator(config.mvg, 32), 0, "x").eval()
    point = torch.linspace(-1, 1, 4 * 4 * 8 * 8).view(1, 4, 4, 8, 8)

    def exact(z_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        a, s = generator.signal_noise(timesteps)
        eps = (z_t - a * point) / s
        return eps if prediction == "epsilon" else a * eps - s * point

    monkeypatch.setattr(generator, "raw_prediction", exact)
    decoded: list[Tensor] = []
    real = generator.decode
    monkeypatch.setattr(generator, "decode", lambda z: decoded.append(z) or real(z))
    sample_two_stage(generator, pair[1], *rig, 5, 1.0, 0, "a", Stopwatch())
    torch.testing.assert_close(decoded[-1], point, atol=1e-4, rtol=1e-4)


def test_ddim_uses_the_generators_schedule(pair: Pair) -> None:
    scheduler = ddim_scheduler(pair[0], 50)
    assert torch.equal(scheduler.alphas_cumprod, pair[0].scheduler.alphas_cumprod)
    assert scheduler.timesteps[0] == 999 and len(scheduler.timesteps) == 50


def test_stopwatch_counts_parts_and_skips_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.0, 20.0, 22.0, 30.0, 34.0])  # begin and end of each part
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for _ in range(2):
        with watch("a"):
            pass
    with watch.paused(), watch("b"):
        pass
    assert watch.total == 3.0 and list(watch.seconds) == ["a"]


def test_calls_are_no_longer_counted_afterwards(pair: Pair, rig: tuple[Tensor, Cameras]) -> None:
    with counted_calls(pair[0].unet, 4) as calls:
        pass
    sample_aligncvc(*pair, *rig, [999], 1.0, 0, "a", Stopwatch())
    assert calls == [0]
