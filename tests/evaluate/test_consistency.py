"""Cross-view consistency: closed forms, frames, and which half is compared with what."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.evaluate.families import compared, consistency_family, measured_steps, without_value
from aligncvc.evaluate.trial import Trial, Value
from aligncvc.metrics.halves import HalfModel, Halves, poses_between, split
from aligncvc.metrics.perceptual import lpips
from aligncvc.metrics.psnr import mae, psnr
from aligncvc.metrics.ssim import ssim
from aligncvc.metrics.surface_distance import chamfer_half_sum, depth_mae
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg, spherical_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views
from aligncvc.splat import Rendering, rasterise
from aligncvc.streams import torch_stream

RING, RIG, SIZE = 8, [0, 2, 4, 6], 40
METRICS = {"psnr": psnr, "ssim": ssim, "lpips": partial(lpips, None), "mae": mae}

Numbers = dict[tuple[str, int, int], float]


def cloud(name: str, count: int = 60) -> Gaussians:
    g = torch_stream(0, "consistency", name)
    return Gaussians(
        means=torch.randn(count, 3, generator=g) * torch.tensor([0.35, 0.2, 0.25]),
        scales=0.05 + 0.07 * torch.rand(count, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1),
        opacities=0.6 + 0.39 * torch.rand(count, generator=g),
        colors=torch.rand(count, 3, generator=g),
    )


def turned(gaussians: Gaussians, degrees: float) -> Gaussians:
    """Rotated counter-clockwise about z, as seen from above."""
    a = math.radians(degrees)
    rotation = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    w, x, y, z = gaussians.quats.unbind(-1)
    c, s = math.cos(a / 2), math.sin(a / 2)  # the quaternion (c, 0, 0, s) from the left
    quats = torch.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], -1)
    return replace(gaussians, means=gaussians.means @ rotation.T, quats=quats)


def ring(start_deg: float = 0.0) -> Cameras:
    return orbit(ring_azimuths_deg(RING, start_deg), 10.0, distance=3.0, fov_y_deg=39.6, size_px=SIZE)


class Judge(nn.Module):
    """Knows a scene for each half and hands it out in the half's own frame.

    answers: by the ring azimuth (deg) of a half's first view, that view, which tells the halves apart, and
    the scene in the ring's frame. asked: (azimuth, number of views) of each call.
    """

    def __init__(self, answers: dict[int, tuple[Tensor, Gaussians]]) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[int, int]] = []

    def forward(self, images: Tensor, cameras: Cameras) -> Gaussians:
        first, _, _ = spherical_deg(cameras)
        assert torch.allclose((first[:, 0] + 1) % 360, torch.ones(len(first)), atol=1e-3)
        errors = {deg: float((images[-1, 0] - seen).abs().max()) for deg, (seen, _) in self.answers.items()}
        degrees = min(errors, key=errors.__getitem__)
        self.asked.append((degrees, images.shape[1]))
        scene = turned(self.answers[degrees][1], -degrees)
        return Gaussians(*(x.expand(len(images), *x.shape).clone() for x in vars(scene).values()))


def drawn(scene: Gaussians, cameras: Cameras) -> Tensor:
    return rasterise(scene, cameras).rgb.clamp(0, 1)


def trial_of(views: Tensor, renders: Tensor | None, truth: Tensor, cameras: Cameras, rig=RIG) -> Trial:
    """views, renders (K, V, 3, H, W); truth (R, 3, H, W) on white, opaque."""
    rgba = torch.cat([truth, torch.ones_like(truth[:, :1])], 1)
    return Trial(
        "thing", 0, Views(rgba, cameras), list(rig), list(range(len(cameras))), 1.0, views, renders,
        None, None, {},
    )  # fmt: skip


def numbers(values: list[Value]) -> Numbers:
    found = {(v.metric, v.view, v.step): v.value for v in values}
    assert len(found) == len(values), "a number twice"
    return found


def scored(trial: Trial, judge: nn.Module | None = None, **options: Any) -> Numbers:
    return numbers(list(consistency_family(trial, METRICS, judge, **options)))


def scene_and_judge(
    answer: Callable[[str], str] = lambda half: half, start_deg: float = 0.0, steps: int = 2
) -> tuple[Trial, Judge]:
    """Half "a" (rig 0, 2) shows scene a and half "b" (rig 4, 6) scene b; the judge answers as told.

    The judge's frame is the half's; the azimuths that it is told are those of the ring.
    """
    scenes = {"a": cloud("a"), "b": cloud("b")}
    scenes = {name: turned(scene, start_deg) for name, scene in scenes.items()}
    cameras = ring(start_deg)
    on_rig = {name: drawn(scene, cameras[RIG]) for name, scene in scenes.items()}
    views = torch.cat([on_rig["a"][:2], on_rig["b"][2:]])
    answers = {
        round(start_deg): (views[0], scenes[answer("a")]),
        round(start_deg) + 180: (views[2], scenes[answer("b")]),
    }
    steps_views = torch.stack([views * (k + 1) / steps for k in range(steps)])  # darker before the last
    truth = drawn(scenes["a"], cameras)
    return trial_of(steps_views, None, truth, cameras), Judge(answers)


def test_each_step_and_pose_is_compared_with_its_own() -> None:
    views = torch.zeros(2, 3, 3, 8, 8)
    renders = views.clone()
    offsets = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    residual = compared(psnr, views, renders + offsets[:, :, None, None, None])
    assert torch.allclose(residual, -20 * offsets.double().log10(), atol=1e-5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="of one shape"):
        compared(psnr, torch.zeros(2, 4, 3, 8, 8), torch.zeros(2, 3, 3, 8, 8))


def flat_trial(order: list[int]) -> Trial:
    """Grey images: truth 0.5, views and renderings off by known levels that differ by step and view."""
    off_views = torch.tensor([[0.10, 0.20, 0.30, 0.40], [0.01, 0.02, 0.03, 0.04]])[:, order]
    off_renders = torch.tensor([[0.20, 0.10, 0.15, 0.05], [0.02, 0.02, 0.01, 0.05]])[:, order]
    level = torch.full((2, 4, 3, 16, 16), 0.5)
    truth = torch.full((RING, 3, 16, 16), 0.5)
    views, renders = (level + off[:, :, None, None, None] for off in (off_views, -off_renders))
    cameras = replace(ring(), width=16, height=16)
    return trial_of(views, renders, truth, cameras, [RIG[i] for i in order])


def test_residual_and_delta_are_the_known_differences() -> None:
    found = scored(flat_trial([0, 1, 2, 3]))
    assert found["residual_mae", 0, 1] == pytest.approx(0.3, abs=1e-6)
    assert found["residual_psnr", 6, 2] == pytest.approx(-20 * math.log10(0.09), abs=1e-4)
    # PSNR of an offset v is -20 log10 v, so the difference of both is 20 log10 (renderings / views).
    assert found["delta_psnr", 0, 1] == pytest.approx(20 * math.log10(0.20 / 0.10), abs=1e-4)
    assert found["delta_psnr", 2, 2] == pytest.approx(0, abs=1e-4)
    assert found["delta_psnr", 6, 1] == pytest.approx(20 * math.log10(0.05 / 0.40), abs=1e-4)
    mean = sum(20 * math.log10(r / v) for r, v in [(2, 1), (1, 2), (1, 2), (1, 8)]) / 4
    assert found["delta_psnr", -1, 1] == pytest.approx(mean, abs=1e-4)
    # the input view apart from the others, and deltas without their signs
    others = [20 * math.log10(r / v) for r, v in [(1, 2), (1, 2), (1, 8)]]
    assert found["gap_input_psnr", -1, 1] == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert found["gap_unseen_psnr", -1, 1] == pytest.approx(-sum(others) / 3, abs=1e-4)
    assert found["gap_unseen_psnr", -1, 2] == pytest.approx(20 * math.log10(3 * 5 / 4) / 3, abs=1e-4)
    assert found["residual_input_psnr", -1, 2] == pytest.approx(-20 * math.log10(0.03), abs=1e-4)
    rest = [-20 * math.log10(gap) for gap in (0.04, 0.04, 0.09)]
    assert found["residual_unseen_psnr", -1, 2] == pytest.approx(sum(rest) / 3, abs=1e-4)
    assert math.isnan(found["gap_unseen_lpips", -1, 1]) and math.isnan(found["residual_input_lpips", -1, 1])
    assert math.isnan(found["residual_lpips", -1, 1]) and math.isnan(found["delta_lpips", -1, 1])
    assert {step for _, _, step in found} == {1, 2}
    assert not any(name.startswith(("heldout", "split")) for name, _, _ in found), "there was no judge"


def test_the_order_of_views_does_not_matter() -> None:
    once, again = scored(flat_trial([0, 1, 2, 3])), scored(flat_trial([2, 0, 3, 1]))
    assert once.keys() == again.keys()
    apart = ("residual_input", "residual_unseen", "gap_")  # which view is the input's does matter
    for key, value in once.items():
        assert again[key] == pytest.approx(value, abs=1e-9, nan_ok=True) or key[0].startswith(apart), key


@pytest.mark.parametrize("halves", ["adjacent", "even-odd"])
@pytest.mark.parametrize("views", [4, 5, 6, 8, 16, 21])
def test_halves_are_disjoint_and_cover_the_rig(views: int, halves: Halves) -> None:
    one, other = split(views, halves)
    assert sorted(one + other) == list(range(views)) and not set(one) & set(other)
    assert abs(len(one) - len(other)) <= 1


def test_halves_are_neighbours_or_alternate() -> None:
    assert split(4, "adjacent") == [[0, 1], [2, 3]]
    assert split(4, "even-odd") == [[0, 2], [1, 3]]
    assert split(8, "adjacent") == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert split(3, "adjacent") == split(2, "even-odd") == [], "no two halves of two views"


def test_poses_between_belong_to_no_view() -> None:
    assert poses_between(16, [0, 4, 8, 12]) == [2, 6, 10, 14]
    assert poses_between(8, [6, 0, 2, 4]) == [7, 1, 3, 5]
    assert poses_between(4, [0, 1, 2, 3]) == []
    assert poses_between(16, [0, 2, 4, 6, 8, 10, 12, 14]) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert poses_between(12, [0, 1, 5]) == [3, 8], "an uneven rig: none between neighbours of the ring"


def test_a_perfect_judge_of_a_consistent_scene_leaves_no_difference() -> None:
    scene, cameras = cloud("a"), ring()
    truth = drawn(scene, cameras)
    views = truth[RIG]
    judge = Judge({0: (views[0], scene), 180: (views[2], scene)})
    found = scored(trial_of(torch.stack([views, views]), None, truth, cameras), judge=judge)
    for step in (1, 2):
        for metric in ("heldout_psnr", "split_psnr"):
            assert found[metric, -1, step] > 80
        assert found["heldout_ssim", -1, step] > 1 - 1e-5 and found["split_ssim", -1, step] > 1 - 1e-5
        assert found["split_depth_mae", -1, step] < 1e-3
        assert found["split_chamfer_half_sum", -1, step] < 1e-5
    assert {view for name, view, _ in found if name == "heldout_psnr"} == {-1, *RIG}
    assert {view for name, view, _ in found if name == "split_psnr"} == {-1, 1, 3, 5, 7}
    assert {view for name, view, _ in found if name == "split_chamfer_half_sum"} == {-1}


def test_held_out_scores_measure_a_half_by_the_views_of_the_other() -> None:
    other = {"a": "b", "b": "a"}
    trial, clairvoyant = scene_and_judge(lambda half: other[half])
    foretold = scored(trial, judge=clairvoyant)
    assert all(foretold["heldout_psnr", view, 2] > 80 for view in RIG)
    assert sorted(clairvoyant.asked) == [(0, 2), (180, 2)], "each half once, with its own two views"
    # A judge that fits what it is shown: no view of its own is used against it, the other half is.
    trial, fitting = scene_and_judge()
    fitted = scored(trial, judge=fitting)
    assert all(fitted["heldout_psnr", view, 2] < 25 for view in RIG)
    scene_a, scene_b = cloud("a"), cloud("b")
    by_hand = psnr(drawn(scene_a, ring()[[4]]), drawn(scene_b, ring()[[4]]))
    assert fitted["heldout_psnr", 4, 2] == pytest.approx(float(by_hand), abs=1e-3)
    between = psnr(drawn(scene_a, ring()[[3]]), drawn(scene_b, ring()[[3]]))
    assert fitted["split_psnr", 3, 2] == pytest.approx(float(between), abs=1e-3)
    expected = chamfer_half_sum(scene_a.means.numpy(), scene_b.means.numpy())
    assert fitted["split_chamfer_half_sum", -1, 2] == pytest.approx(expected, abs=1e-5)


def test_a_scene_turned_about_z_as_a_whole_has_the_same_numbers() -> None:
    trial, judge = scene_and_judge()
    once = scored(trial, judge=judge)
    trial, judge = scene_and_judge(start_deg=37.0)
    again = scored(trial, judge=judge)
    assert once.keys() == again.keys()
    for key, value in once.items():
        assert again[key] == pytest.approx(value, abs=2e-3, nan_ok=True), key


def test_last_measures_the_last_step_alone_and_alike() -> None:
    trial, judge = scene_and_judge()
    whole, last = scored(trial, judge=judge), scored(trial, judge=judge, steps="last")
    assert {step for _, _, step in whole} == {1, 2} and {step for _, _, step in last} == {2}
    assert last == {key: pytest.approx(x, nan_ok=True) for key, x in whole.items() if key[2] == 2}
    assert whole["heldout_psnr", 4, 1] != whole["heldout_psnr", 4, 2], "the first step's views are darker"


def test_four_measured_steps_are_evenly_spaced_and_end_with_the_last() -> None:
    assert measured_steps(50, "four") == [12, 25, 38, 50]
    assert measured_steps(8, "four") == [2, 4, 6, 8]
    assert measured_steps(3, "four") == measured_steps(3, "all") == [1, 2, 3]
    assert measured_steps(50, "last") == [50]
    for count in range(1, 60):
        steps = measured_steps(count, "four")
        assert steps[-1] == count and len(set(steps)) == min(4, count) and steps == sorted(steps)
    trial, judge = scene_and_judge(steps=5)
    whole, four = scored(trial, judge=judge), scored(trial, judge=judge, steps="four")
    assert {step for name, _, step in four if name == "split_psnr"} == {1, 2, 4, 5}
    assert four == {key: pytest.approx(whole[key], nan_ok=True) for key in four}


def test_nothing_is_invented_for_what_a_trial_has_not() -> None:
    trial, judge = scene_and_judge()
    assert scored(replace(trial, views=None), judge=judge) == {}
    whole_ring = replace(trial, truth=trial.truth[RIG], rig=[0, 1, 2, 3])
    assert {name.split("_")[0] for name, _, _ in scored(whole_ring, judge=judge)} == {"heldout"}


def test_a_rig_of_eight_views_is_halved_and_one_of_two_has_no_halves_and_says_so() -> None:
    scene, cameras = (
        cloud("a"),
        orbit(ring_azimuths_deg(16), 10.0, distance=3.0, fov_y_deg=39.6, size_px=SIZE),
    )
    truth, rig = drawn(scene, cameras), list(range(0, 16, 2))
    eight = trial_of(truth[rig][None], None, truth, cameras, rig)
    judge = Judge({0: (truth[0], scene), 180: (truth[8], scene)})
    found = scored(eight, judge=judge)
    assert sorted(judge.asked) == [(0, 4), (180, 4)]
    assert {view for name, view, _ in found if name == "heldout_psnr"} == {-1, *rig}
    assert {view for name, view, _ in found if name == "split_psnr"} == {-1, *range(1, 16, 2)}
    assert found["heldout_psnr", -1, 1] > 80 and found["split_psnr", -1, 1] > 80
    two = trial_of(truth[[0, 4]][None], truth[[0, 4]][None], truth, cameras, [0, 4])
    assert {name.split("_")[0] for name, _, _ in scored(two, judge=judge)} == {
        "residual", "delta", "gap", "renders",
    }  # fmt: skip
    for name in ("heldout_psnr", "split_ssim", "split_depth_mae", "split_chamfer_half_sum"):
        assert without_value(two)[name].startswith("n/a (a rig of 2 views"), name
    whole = trial_of(truth[None], None, truth, cameras, list(range(16)))
    assert "no pose" in without_value(whole)["split_psnr"] and "heldout_psnr" not in without_value(whole)
    assert not {"split_psnr", "heldout_psnr"} & without_value(eight).keys()


def rendering(alpha: Tensor, depth: float | Tensor) -> Rendering:
    """alpha (H, W): one step, one pose; depth as the rasteriser gives it, weighted by alpha."""
    return Rendering(
        torch.zeros(1, 1, 3, *alpha.shape), alpha[None, None, None], (alpha * depth)[None, None, None]
    )


def test_depth_error_of_two_planes_and_two_spheres_is_their_distance() -> None:
    square = torch.zeros(20, 20)
    square[5:15, 5:15] = 1.0
    assert depth_mae(rendering(square, 3.0), rendering(square * 0.8, 3.25)).item() == pytest.approx(
        0.25, abs=1e-6
    )
    y, x = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 20), indexing="ij")
    inside = x * x + y * y < 0.9
    front = 3 - (1 - x * x - y * y).clamp_min(0).sqrt()
    found = depth_mae(rendering(inside.float(), front), rendering(inside.float(), front + 0.1))
    assert found.item() == pytest.approx(0.1, abs=1e-6)


def test_a_silhouette_that_differs_counts_with_its_whole_depth() -> None:
    whole, half = torch.ones(10, 10), torch.zeros(10, 10)
    half[:, :5] = 1.0
    assert depth_mae(rendering(whole, 3.0), rendering(half, 3.0)).item() == pytest.approx(1.5)
    assert depth_mae(rendering(half, 3.0), rendering(whole, 3.0)).item() == pytest.approx(1.5)
    faint = whole * 0.4  # half transparent: no surface
    assert math.isnan(depth_mae(rendering(faint, 3.0), rendering(half * 0, 3.0)).item())


def test_chamfer_of_known_points() -> None:
    one = torch.tensor([[0.0, 0, 0]])
    two = torch.tensor([[0.0, 0, 0], [3.0, 4, 0]])
    assert chamfer_half_sum(one, two) == chamfer_half_sum(two, one) == pytest.approx((0 + 2.5) / 2)
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    shift = torch.tensor([0.1, -0.2, 0.2])
    assert chamfer_half_sum(grid, grid + shift) == pytest.approx(0.3, abs=1e-6)
    assert math.isnan(chamfer_half_sum(one, one[:0]))


@pytest.mark.parametrize("azimuth", [0.0, 70.0, 200.0])
def test_points_are_turned_back_to_the_trials_frame(azimuth: float) -> None:
    reference = orbit([azimuth], 10.0, distance=3.0, fov_y_deg=39.6, size_px=8).c2w[0]
    scene = cloud("a", 4)
    # In its own frame a model faces its first camera along -y; in the trial's that camera has an azimuth.
    means = torch.tensor([[0.0, -1, 0.5], [1.0, 0, 0], [0.2, 0.3, 0.4], [9.0, 9, 9]])
    visible = torch.tensor([0.9, 0.01, 1.0, 0.003])
    batch = replace(scene, means=means, opacities=visible)
    model = HalfModel(Gaussians(*(x[None] for x in vars(batch).values())), reference)
    (found,) = model.points()
    a = math.radians(azimuth)
    assert torch.allclose(found[0], torch.tensor([math.sin(a), -math.cos(a), 0.5]), atol=1e-6)
    assert torch.allclose(found[1], torch.tensor([math.cos(a), math.sin(a), 0]), atol=1e-6)
    assert torch.allclose(found, turned(batch, azimuth).means[:3], atol=1e-6), (
        "the one that is never drawn is left out"
    )
