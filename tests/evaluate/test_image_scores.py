"""The image families of one subject: names, views, steps, means, what is left out."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace

import pytest
import torch
import trimesh
from torch import Tensor

from aligncvc.evaluate import catalogue
from aligncvc.evaluate.image_scores import ImageTools, draw_scored, image_family, views_family
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.metrics.image import (
    dists_metric,
    foreground_psnr,
    foreground_ssim,
    lpips_scores,
    pooled_psnr,
    psnr,
    ssim,
)
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.dists import load_dists
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.views import Views
from aligncvc.splat import Rendering

RIG, SCORED = [0, 2], [1, 2, 3]
CAMERAS = orbit(ring_azimuths_deg(4), 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)


@dataclass
class Billboard:
    """A model that shows the same picture from everywhere, brighter than images may be."""

    picture: Tensor

    def draw(self, cameras: Cameras, background: float) -> Rendering:
        rgb = self.picture.expand(len(cameras), -1, -1, -1) + background - 0.5
        alpha = torch.ones(len(cameras), 1, *rgb.shape[-2:])
        return Rendering(rgb, alpha, alpha)

    def mesh(self) -> trimesh.Trimesh | None:
        return None


@pytest.fixture(scope="module")
def tools() -> ImageTools:
    return ImageTools(load_lpips("alex"), None, load_dists())


@pytest.fixture
def subject() -> Subject:
    generator = torch.Generator().manual_seed(0)
    rgba = torch.rand(4, 4, 64, 64, generator=generator)
    rgba[:, 3] = 0
    rgba[:3, 3, 20:50, 16:40] = 1  # view 3 shows no object
    return Subject(
        object="box",
        seed=0,
        truth=Views(rgba, CAMERAS),
        rig=RIG,
        scored=SCORED,
        background=0.5,
        views=torch.rand(3, 2, 3, 64, 64, generator=generator),
        renders=None,
        model=Billboard(1.5 * torch.rand(3, 64, 64, generator=generator)),
        surface=None,
        cost={},
    )


def table(values: list[Value]) -> dict[str, dict[tuple[int, int], float]]:
    found: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    for v in values:
        assert (v.step, v.view) not in found[v.metric], "one value a view and step"
        found[v.metric][v.step, v.view] = v.value
    return found


def test_image_family_scores_the_clamped_drawing_over_the_background(
    subject: Subject, tools: ImageTools
) -> None:
    found = table(list(image_family(subject, tools)))
    assert found.keys() == {
        "psnr", "psnr_pooled", "ssim", "lpips", "dists", "fg_psnr", "fg_ssim", "fg_lpips", "clip_s",
    }  # fmt: skip
    assert found.keys() <= catalogue.CATALOGUE.keys()
    drawn = draw_scored(subject)
    assert float(drawn.max()) == 1 and drawn.shape == (3, 3, 64, 64)
    target = subject.truth.rgba[1:, :3] * subject.truth.alpha[1:] + 0.5 * (1 - subject.truth.alpha[1:])
    lpips, fg_lpips = lpips_scores(tools.lpips, drawn, target, subject.truth.alpha[1:])  # type: ignore[arg-type]
    for name, values in {
        "psnr": psnr(drawn, target),
        "ssim": ssim(drawn, target),
        "lpips": lpips,
        "fg_lpips": fg_lpips,
        "dists": dists_metric(tools.dists)(drawn, target),  # type: ignore[arg-type]
        "fg_psnr": foreground_psnr(drawn, target, subject.truth.alpha[1:]),
        "fg_ssim": foreground_ssim(drawn, target, subject.truth.alpha[1:]),
    }.items():
        assert [found[name][FINAL_STEP, view] for view in SCORED] == pytest.approx(
            values.tolist(), nan_ok=True
        )
        assert found[name][FINAL_STEP, MEAN_VIEW] == pytest.approx(float(values.nanmean()))
        assert math.isnan(found[name][FINAL_STEP, 3]) == name.startswith("fg_")
    assert found["psnr_pooled"] == {(FINAL_STEP, MEAN_VIEW): float(pooled_psnr(drawn, target))}
    assert [*found["clip_s"]] == [(FINAL_STEP, MEAN_VIEW)]
    assert math.isnan(found["clip_s"][FINAL_STEP, MEAN_VIEW])  # no weights, no number


def test_dists_may_score_each_second_view(subject: Subject, tools: ImageTools) -> None:
    every = table(list(image_family(subject, tools)))["dists"]
    second = table(list(image_family(subject, replace(tools, dists_every=2))))["dists"]
    assert second.keys() == {(FINAL_STEP, 1), (FINAL_STEP, 3), (FINAL_STEP, MEAN_VIEW)}
    assert second[FINAL_STEP, 3] == pytest.approx(every[FINAL_STEP, 3], abs=1e-6)


def test_images_drawn_before_are_not_drawn_again(subject: Subject, tools: ImageTools) -> None:
    drawn = draw_scored(subject)
    once = list(image_family(subject, replace(tools, dists=None)))
    again = list(image_family(replace(subject, model=None), replace(tools, dists=None), drawn))
    assert [repr(v) for v in once] == [repr(v) for v in again]
    assert list(image_family(replace(subject, model=None), tools)) == []


def test_views_family_scores_every_step_and_repeats_the_last_means(
    subject: Subject, tools: ImageTools
) -> None:
    found = table(list(views_family(subject, tools)))
    assert found.keys() == {"views_psnr", "views_ssim", "views_lpips", "views_fg_psnr"}
    target = subject.truth[RIG].on_white()
    assert subject.views is not None
    for step in (1, 2, 3):
        expected = psnr(subject.views[step - 1], target)
        assert [found["views_psnr"][step, view] for view in RIG] == pytest.approx(expected.tolist())
        assert found["views_psnr"][step, MEAN_VIEW] == pytest.approx(float(expected.mean()))
    for curve in found.values():
        assert curve[FINAL_STEP, MEAN_VIEW] == curve[3, MEAN_VIEW]
        assert {step for step, _ in curve} == {1, 2, 3, FINAL_STEP} and len(curve) == 10
    assert list(views_family(replace(subject, views=None), tools)) == []


def test_small_images_have_no_perceptual_scores(subject: Subject, tools: ImageTools) -> None:
    rgba = subject.truth.rgba[..., :48, :48]
    drawn = torch.rand(3, 3, 48, 48)
    small = replace(subject, truth=replace(subject.truth, rgba=rgba), views=torch.rand(1, 2, 3, 48, 48))
    found = table([*image_family(small, tools, drawn), *views_family(small, tools)])
    for name in ("lpips", "fg_lpips", "dists", "views_lpips"):
        assert all(math.isnan(value) for value in found[name].values())
    assert math.isfinite(found["ssim"][FINAL_STEP, MEAN_VIEW])


def test_optional_networks_add_their_metrics(subject: Subject) -> None:
    torch.manual_seed(0)
    clip = ClipImageEncoder(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    vgg = load_lpips("vgg")
    found = table(list(image_family(subject, ImageTools(lpips_vgg=vgg, clip=clip), subject.scored_truth)))
    assert found["clip_s"][FINAL_STEP, MEAN_VIEW] == pytest.approx(1, abs=1e-5)  # ground truth against itself
    assert found["lpips_vgg"][FINAL_STEP, MEAN_VIEW] == 0
    different = table(list(image_family(subject, ImageTools(lpips_vgg=vgg, clip=clip))))
    assert different["clip_s"][FINAL_STEP, MEAN_VIEW] < 0.9999
    assert different["lpips_vgg"][FINAL_STEP, 1] > 0.1


def test_tools_load_what_is_there_and_say_what_is_not() -> None:
    tools = ImageTools.load("alex")
    assert tools.lpips is not None and tools.dists is not None and tools.lpips_vgg is None
    assert (tools.clip is None) == ("clip_s" in tools.reasons)
    assert all(reason.startswith("n/a (weights missing): ") for reason in tools.reasons.values())
