"""Feedback rules, one for every way in which published systems feed 3D back into sampling, and one's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_world import sample_job
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.loop.feedback import Feedback, State, Step, find_feedback
from aligncvc.loop.gen3diffusion import Gen3Diffusion
from aligncvc.loop.ouroboros3d import Ouroboros3d
from aligncvc.loop.unroll import Loop, sample, unroll, view_noise, with_input
from aligncvc.loop.videomv import VideoMv
from aligncvc.models.generators.base import MultiViewGenerator, Prediction, TakesMaps, over_tree
from aligncvc.models.generators.schedules import AlphaSchedule, SigmaSchedule
from aligncvc.models.pair import PairOfModels, attach_lora
from aligncvc.models.reconstructors.base import At
from aligncvc.models.specs import ModelSpec, PairSpec
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import batched
from aligncvc.scene.rigs import Rig
from aligncvc.splat import Rendering

VIEWS, SIDE = 8, 16


class Denoiser(nn.Module):
    """A video network: one row an object, in which all its views lie."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.mix.weight)

    def forward(self, z: Tensor, told: Tensor) -> Tensor:
        return self.mix(z.movedim(2, -1)).movedim(-1, 2) * 0.2 + told


@dataclass(frozen=True)
class Shown:
    """3D condition of the toy: what was last rendered, and where its surfaces lie."""

    renderings: Tensor
    coordinates: Tensor


class VideoGenerator(MultiViewGenerator, TakesMaps):
    """Latents are pixels; predicts x0; guidance rises over the views; conditions are nested."""

    lora_targets = ("mix",)

    def __init__(self, schedule: AlphaSchedule | SigmaSchedule) -> None:
        super().__init__()
        self.schedule, self.net = schedule, Denoiser()
        self.seen: list[tuple[Tensor, Tensor, Any]] = []

    @property
    def denoiser(self) -> nn.Module:
        return self.net

    def rows(self, views: int) -> int:
        return 1

    def parts(self) -> dict[str, nn.Module]:
        return {"net": self.net}

    def encode_condition(self, image: Tensor, cameras: Tensor) -> Any:
        zeros = torch.zeros(len(image), VIEWS, 3, SIDE, SIDE)
        return {"image": (image, "a note that is no tensor"), "shown": Shown(zeros, zeros)}

    def with_maps(self, condition: Any, drawn: Rendering, cameras: Cameras) -> Any:
        return {**condition, "shown": Shown(drawn.rgb, coordinate_maps(drawn, cameras))}

    def unconditional(self, condition: Any) -> Any:
        image, note = condition["image"]
        return {**condition, "image": (torch.zeros_like(image), note)}

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def latent_shape(self, views: int) -> tuple[int, int, int, int]:
        return views, 3, SIDE, SIDE

    def raw_prediction(self, z_t: Tensor, timesteps: Tensor, condition: Any) -> Tensor:
        self.seen.append((z_t, timesteps, condition))
        told = condition["image"][0][:, None] * 0.5 + condition["shown"].renderings * 0.1
        return self.net(z_t.clamp(-1, 1), told)

    def prediction(self, raw: Tensor, z_t: Tensor, timesteps: Tensor) -> Prediction:
        return Prediction(raw, self.schedule.implied_noise(z_t, raw, timesteps))

    def guide(self, unconditional: Tensor, conditional: Tensor, guidance: Any) -> Tensor:
        ramp = torch.linspace(1, float(guidance), conditional.shape[1])
        return super().guide(unconditional, conditional, ramp)


class TimedReconstructor(nn.Module):
    """One Gaussian a view, of the view's mean colour; remembers what it was shown."""

    def __init__(self, sees: str = "views") -> None:
        super().__init__()
        self.sees = sees
        self.calls: list[tuple[Tensor, Cameras, At | None]] = []

    def forward(self, images: Tensor, cameras: Cameras, at: At | None = None) -> Gaussians:
        self.calls.append((images, cameras, at))
        b, v = images.shape[:2]
        quats = torch.tensor([1.0, 0, 0, 0]).expand(b, v, 4)
        means = torch.linspace(-0.3, 0.3, v)[None, :, None].expand(b, v, 3)
        return Gaussians(
            means, torch.full((b, v, 3), 0.3), quats, torch.full((b, v), 0.9), images.mean((-2, -1))
        )


def pair_of(
    schedule: AlphaSchedule | SigmaSchedule, sees: str = "views", reconstruct: list[int] | None = None
) -> PairOfModels:
    spec = PairSpec(
        name="toy",
        generator=ModelSpec(kind="toy.video"),
        reconstructor=ModelSpec(kind="toy.timed"),
        rig=Rig(azimuths_deg=[i * 45 for i in range(VIEWS)]),
        reconstruct=reconstruct,
        views_px=SIDE,
        renderings_px=SIDE,
        guidance=3.0,
        seed=0,
    )
    return PairOfModels(spec, VideoGenerator(schedule), TimedReconstructor(sees))


def loop_of(pair: PairOfModels) -> Loop:
    cameras = orbit(pair.spec.rig.azimuths_deg, 10.0, distance=3.0, fov_y_deg=39.6, size_px=SIDE)

    def noise(index: int, _: object) -> Tensor:
        return view_noise((VIEWS, 3, SIDE, SIDE), 0, "toy", index)[None]

    return Loop(pair, batched([cameras]), pair.spec.guidance, noise)


class EveryOther(Feedback):
    """A rule of one's own."""

    def looks(self, state: State) -> bool:
        return state.index % 2 == 1


IMAGE = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def coordinate_maps(drawn: Rendering, cameras: Cameras) -> Tensor:
    """Where each pixel's surface lies in the world, (B, V, 3, H, W)."""
    origins, directions = cameras.rays()
    return origins + directions * drawn.depth / drawn.alpha.clamp_min(1e-3)


def steps_of(loop: Loop, feedback: Feedback, count: int) -> list[tuple[State, Step]]:
    times = feedback.times(loop.pair.generator.schedule, count, None)
    return list(unroll(loop, feedback, IMAGE[None], times))


def test_feedback_in_each_branch_from_some_steps_on_then_ddim() -> None:
    pair = pair_of(AlphaSchedule.scaled_linear())
    loop, feedback, schedule = loop_of(pair), VideoMv(), pair.generator.schedule
    steps = steps_of(loop, feedback, 6)
    assert [step.look is not None for _, step in steps] == [False, False, True, True, True, False]
    assert len(pair.reconstructor.calls) == 6  # both branches, at three steps
    state, step = steps[2]
    branches = loop.branches(state)
    drawn = [loop.look(branch.x0, state).renderings for branch in branches]
    ramp = torch.linspace(1, 3, VIEWS).view(VIEWS, 1, 1, 1)
    expected = drawn[0] + ramp * (drawn[1] - drawn[0])
    torch.testing.assert_close(step.prediction.x0, expected)
    t = torch.tensor([state.now])
    a, s = schedule.signal_noise(t)
    eps = (state.z - a * expected) / s
    torch.testing.assert_close(step.prediction.eps, eps)
    a, s = schedule.signal_noise(torch.tensor([state.following]))
    torch.testing.assert_close(steps[3][0].z, a * expected + s * eps, atol=1e-5, rtol=1e-5)
    found = sample(loop, feedback, IMAGE, feedback.times(schedule, 6, None))
    assert found.views.shape == (4, VIEWS, 3, SIDE, SIDE)  # kept as two-stage sampling's


@pytest.mark.parametrize(
    ("steps", "looks"), [(50, [20, 30, 40]), (25, [10, 15, 20]), (4, [1, 2, 3]), (2, [0, 1]), (1, [0])]
)
def test_looks_in_each_branch_are_at_the_same_shares_of_any_number_of_steps(
    steps: int, looks: list[int]
) -> None:
    pair = pair_of(AlphaSchedule.scaled_linear())
    state = State(torch.zeros(1), IMAGE, {}, VideoMv().times(pair.generator.schedule, steps, None))
    assert [i for i in range(steps) if VideoMv().looks(replace(state, index=i))] == looks
    if steps == 1:  # whatever the last step saw, the result is of the clean latents
        found = sample(loop_of(pair), VideoMv(), IMAGE, state.times)
        assert len(pair.reconstructor.calls) == 3
        assert torch.equal(found.views[-1:], pair.reconstructor.calls[-1][0])


def test_what_is_fed_back_may_be_on_grey() -> None:
    looks = []
    for background in (1.0, 0.7):
        pair = pair_of(AlphaSchedule.scaled_linear())
        rig = pair.spec.rig.model_copy(update={"background": background})
        pair = replace(pair, spec=pair.spec.model_copy(update={"rig": rig}))
        looks.append(steps_of(loop_of(pair), VideoMv(), 1)[0][1].look)
    white, grey = looks
    difference = white.renderings - grey.renderings
    torch.testing.assert_close(difference, (0.3 * (1 - white.drawn.alpha)).expand_as(difference))
    assert float(white.drawn.alpha.min()) < 0.5
    torch.testing.assert_close(grey.on_white, white.on_white)


def test_a_reconstructor_may_see_views_that_were_not_clamped() -> None:
    pair = pair_of(AlphaSchedule.scaled_linear(), sees="noisy")
    pair.reconstructor.clamped = False
    (state, step), *_ = steps_of(loop_of(pair), Gen3Diffusion(), 1)
    images, _, at = pair.reconstructor.calls[0]
    assert at is not None and torch.equal(at.noisy, state.z) and float(state.z.min()) < 0
    assert torch.equal(step.look.views, images.clamp(0, 1)), "for people and metrics they are"


def test_x0_replaced_with_the_noise_kept_and_one_last_pass() -> None:
    pair = pair_of(AlphaSchedule.scaled_linear(), sees="noisy")
    loop, feedback, generator = loop_of(pair), Gen3Diffusion(), pair.generator
    steps = steps_of(loop, feedback, 3)
    for (state, step), (later, _) in pairwise(steps):
        torch.testing.assert_close(step.prediction.x0, step.look.renderings)
        signal, sigma = generator.schedule.signal_noise(torch.tensor([state.now]))
        torch.testing.assert_close(
            signal * step.prediction.x0 + sigma * step.prediction.eps, state.z, atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            generator.schedule.implied_noise(later.z, step.prediction.x0, torch.tensor([later.now])),
            step.prediction.eps, atol=1e-3, rtol=1e-3,
        )  # fmt: skip
    images, _, at = pair.reconstructor.calls[1]
    assert at is not None and at.timesteps.tolist() == [steps[1][0].now]
    torch.testing.assert_close(at.noisy, steps[1][0].z.clamp(0, 1))
    assert torch.equal(images, steps[1][1].look.views)
    generator.seen.clear()
    pair.reconstructor.calls.clear()
    sample(loop, feedback, IMAGE, feedback.times(generator.schedule, 3, None))
    assert [int(t[0]) for _, t, _ in generator.seen] == [999, 666, 332, 332]  # the extra pass
    assert len(pair.reconstructor.calls) == 4 and torch.equal(
        pair.reconstructor.calls[-1][0], generator.predict(
            generator.seen[-1][0][:1], torch.tensor([332]),
            over_tree(lambda x: x[1:], generator.seen[-1][2]), 3.0,
        ).x0.clamp(0, 1)
    )  # fmt: skip


def test_renderings_and_coordinates_become_the_next_condition_on_sigmas() -> None:
    pair = pair_of(SigmaSchedule(), sees="time", reconstruct=[0, 2, 4, 6])
    loop, feedback, schedule = loop_of(pair), Ouroboros3d(), pair.generator.schedule
    steps = steps_of(loop, feedback, 4)
    assert float(steps[0][0].condition["shown"].renderings.abs().max()) == 0
    for (state, step), (later, _) in pairwise(steps):
        shown = later.condition["shown"]
        assert torch.equal(shown.renderings, step.look.renderings)
        assert shown.coordinates.shape == (1, VIEWS, 3, SIDE, SIDE)
        sigma, following = (
            float(schedule.signal_noise(torch.tensor([t]))[1]) for t in (state.now, later.now)
        )
        euler = state.z + (following - sigma) * (state.z - step.prediction.x0) / sigma
        torch.testing.assert_close(later.z, euler, atol=1e-3, rtol=1e-3)
    surface = steps[1][0].condition["shown"].coordinates[0, :, :, SIDE // 2, SIDE // 2]
    assert float(surface.norm(dim=1).max()) < 1.0  # on the object, seen from every side
    # both halves of guidance see the same 3D condition, and the note passes through
    both = pair.generator.seen[-1][2]
    assert torch.equal(both["shown"].renderings[:1], both["shown"].renderings[1:])
    assert both["image"][1] == "a note that is no tensor" and float(both["image"][0][0].abs().max()) == 0


def test_a_reconstructor_is_shown_some_views_and_all_are_rendered() -> None:
    pair = pair_of(SigmaSchedule(), sees="noisy", reconstruct=[0, 2, 4, 6])
    (_, step), *_ = steps_of(loop_of(pair), Ouroboros3d(), 2)
    images, cameras, at = pair.reconstructor.calls[0]
    assert torch.equal(images, step.look.views[:, [0, 2, 4, 6]]) and len(cameras) == 4
    assert at is not None and at.noisy is not None and at.noisy.shape == images.shape
    assert step.look.renderings.shape[1] == step.look.views.shape[1] == VIEWS


@pytest.mark.parametrize("feedback", [Feedback(), VideoMv(), Gen3Diffusion(), Ouroboros3d()])
def test_the_input_image_may_stand_in_for_the_view_at_its_pose(feedback: Feedback) -> None:
    pair = pair_of(SigmaSchedule(), reconstruct=[0, 2, 4, 6])
    pair = replace(pair, spec=pair.spec.model_copy(update={"input_view": True}))
    found = sample(loop_of(pair), feedback, IMAGE, feedback.times(pair.generator.schedule, 2, None))
    for images, _, _ in pair.reconstructor.calls:
        assert torch.equal(images[0, 0], IMAGE)
    last = pair.reconstructor.calls[-1][0][0]
    assert torch.equal(last[1:], found.views[-1, [2, 4, 6]]), "the others stay as they were generated"
    assert not torch.equal(found.views[-1, 0], IMAGE), "what is kept of the generator's views is its own"


def test_a_larger_input_image_is_brought_to_the_views_size() -> None:
    views, image = torch.zeros(1, 2, 3, 8, 8, requires_grad=True), torch.full((1, 3, 20, 20), 0.5)
    seen = with_input(views, image)
    assert seen.shape == views.shape and float(seen[0, 0].detach().min()) == pytest.approx(0.5)
    seen.sum().backward()
    assert views.grad is not None and float(views.grad[0, 0].abs().max()) == 0 < float(views.grad[0, 1].min())


def test_a_reconstructor_is_told_that_final_views_are_clean() -> None:
    pair = pair_of(AlphaSchedule.scaled_linear(), sees="noisy")
    loop = loop_of(pair)
    sample(loop, Feedback(), IMAGE, [999, 499])
    images, _, at = pair.reconstructor.calls[-1]
    assert at is not None and at.timesteps.tolist() == [0] and torch.equal(at.noisy, images)


def test_guidance_may_be_one_number_a_view_and_branches_are_one_call() -> None:
    generator = VideoGenerator(AlphaSchedule.scaled_linear())
    z = view_noise((VIEWS, 3, SIDE, SIDE), 0, "z")[None]
    condition, t = generator.encode_condition(IMAGE[None], torch.eye(4)), torch.tensor([500])
    free, told = generator.branches(z, t, condition)
    assert len(generator.seen) == 1 and len(generator.seen[0][0]) == 2
    scale = torch.arange(VIEWS, dtype=torch.float32)
    by_view = MultiViewGenerator.guide(generator, free, told, scale)
    for view in range(VIEWS):
        expected = MultiViewGenerator.guide(generator, free, told, float(view))
        torch.testing.assert_close(by_view[:, view], expected[:, view])


def test_lora_sits_where_the_generator_says_and_can_be_switched_off() -> None:
    generator = VideoGenerator(AlphaSchedule.scaled_linear())
    parameters = attach_lora(generator, 2, 0)
    assert sorted(parameters) == ["mix.lora_A.weight", "mix.lora_B.weight"]
    z, told = torch.rand(1, VIEWS, 3, SIDE, SIDE), torch.zeros(1, 1, 3, 1, 1)
    before = generator.denoiser(z, told)
    with torch.no_grad():
        parameters["mix.lora_B.weight"].fill_(1.0)
    assert not torch.equal(generator.denoiser(z, told), before)
    with generator.adapters_off():
        assert torch.equal(generator.denoiser(z, told), before)


def test_a_feedback_is_a_module_that_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_feedback("two_stage").kept(1) == [0]
    mine = ModuleType("mine.feedback")
    mine.FEEDBACK = EveryOther()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", ModuleType("mine"))
    monkeypatch.setitem(sys.modules, "mine.feedback", mine)
    assert find_feedback("mine.feedback") is mine.FEEDBACK
    for name in ("videos", "unroll", "nobodys.module"):
        with pytest.raises(
            UserError, match=rf"no feedback '{name}'.* of aligncvc, gen3diffusion, ouroboros3"
        ):
            find_feedback(name)


def test_a_module_that_lacks_something_else_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/needy.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        find_feedback("pack.needy")


def test_what_cannot_work_is_said_before_any_work() -> None:
    spec = pair_of(SigmaSchedule()).spec
    VideoMv().check(spec, 6)
    one_branch = spec.generator.model_copy(update={"network": {"distilled": True}})
    distilled = spec.model_copy(update={"generator": one_branch})
    Feedback().check(distilled, 6)
    with pytest.raises(UserError, match=r"VideoMv feeds back into each branch .* pair toy is distilled"):
        VideoMv().check(distilled, 6)
    blind = spec.model_copy(update={"generator": ModelSpec(kind="wonder3d")})
    with pytest.raises(UserError, match=r"generator of pair toy \(kind wonder3d\) takes none; choose"):
        Ouroboros3d().check(blind, 6)
    with pytest.raises(UserError, match="no feedback 'nothing'"):
        find_feedback(sample_job("nothing").feedback)


def test_planning_asks_feedbacks_without_torch() -> None:
    code = (
        "import sys; from aligncvc.loop.feedback import find_feedback, known_feedbacks\n"
        "assert len(known_feedbacks()) >= 5\n"
        "for name in known_feedbacks(): find_feedback(name)\n"
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
