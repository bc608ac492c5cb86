"""The image families of one trial: names, views, steps, means, what is left out."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace

import pytest
import torch
import trimesh
from torch import Tensor

from aligncvc.config.protocol_metrics import Dists, Metrics
from aligncvc.evaluate import catalogue
from aligncvc.evaluate.families import image_family, views_family
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW
from aligncvc.evaluate.trial import Drawn, Trial, Value
from aligncvc.metrics.perceptual import dists, lpips, lpips_scores
from aligncvc.metrics.psnr import foreground_psnr, pooled_psnr, psnr
from aligncvc.metrics.ssim import ssim_scores
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
def networks() -> Networks:
    return Networks(load_lpips("alex"), None, load_dists())


@pytest.fixture
def trial() -> Trial:
    generator = torch.Generator().manual_seed(0)
    rgba = torch.rand(4, 4, 64, 64, generator=generator)
    rgba[:, 3] = 0
    rgba[:3, 3, 20:50, 16:40] = 1  # view 3 shows no object
    return Trial(
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


def scored(trial: Trial, networks: Networks, every: int = 1) -> dict[str, dict[tuple[int, int], float]]:
    return table(list(image_family(trial, networks, Metrics(dists=Dists(every=every)), trial.draw_scored())))


def test_image_family_scores_the_clamped_drawing_over_the_background(
    trial: Trial, networks: Networks
) -> None:
    found = scored(trial, networks)
    assert found.keys() == {
        "psnr", "psnr_pooled", "ssim", "lpips", "dists", "fg_psnr", "fg_ssim", "fg_lpips", "clip_s",
        "union_psnr",
    }  # fmt: skip
    assert found.keys() <= catalogue.CATALOGUE.keys()
    shown = trial.draw_scored()
    assert shown is not None
    drawn = shown.rgb
    assert float(drawn.max()) == 1 and drawn.shape == (3, 3, 64, 64)
    target = trial.truth.rgba[1:, :3] * trial.truth.alpha[1:] + 0.5 * (1 - trial.truth.alpha[1:])
    lpips, fg_lpips = lpips_scores(networks.lpips, drawn, target, trial.truth.alpha[1:])  # type: ignore[arg-type]
    exact, alpha = (drawn.double(), target.double()), trial.truth.alpha[1:]
    ssim, fg_ssim = ssim_scores(drawn, target, alpha)
    for name, values in {
        "psnr": psnr(*exact),
        "ssim": ssim,
        "lpips": lpips,
        "fg_lpips": fg_lpips,
        "dists": dists(networks.dists, drawn, target),
        "fg_psnr": foreground_psnr(*exact, alpha),
        "fg_ssim": fg_ssim,
        "union_psnr": psnr(*exact),  # the billboard is opaque everywhere
    }.items():
        assert [found[name][FINAL_STEP, view] for view in SCORED] == pytest.approx(
            values.tolist(), nan_ok=True
        )
        assert found[name][FINAL_STEP, MEAN_VIEW] == pytest.approx(float(values.nanmean()))
        assert math.isnan(found[name][FINAL_STEP, 3]) == name.startswith("fg_")
    assert found["psnr_pooled"] == {(FINAL_STEP, MEAN_VIEW): float(pooled_psnr(*exact))}
    assert [*found["clip_s"]] == [(FINAL_STEP, MEAN_VIEW)]
    assert math.isnan(found["clip_s"][FINAL_STEP, MEAN_VIEW])  # no weights, no number


def test_dists_may_score_each_second_view(trial: Trial, networks: Networks) -> None:
    every, second = (scored(trial, networks, n)["dists"] for n in (1, 2))
    assert second.keys() == {(FINAL_STEP, 1), (FINAL_STEP, 3), (FINAL_STEP, MEAN_VIEW)}
    assert second[FINAL_STEP, 3] == pytest.approx(every[FINAL_STEP, 3], abs=1e-6)


def test_the_window_of_ssim_is_the_protocols(trial: Trial, networks: Networks) -> None:
    flat = Metrics.model_validate({"ssim": {"window": "uniform-7"}})
    values = table(
        [*image_family(trial, networks, flat, trial.draw_scored()), *views_family(trial, networks, flat)]
    )
    drawn, target, alpha = trial.draw_scored(), trial.scored_truth, trial.truth[SCORED].alpha
    assert drawn is not None
    expected = ssim_scores(drawn.rgb, target, alpha, "uniform-7")[0]
    assert [values["ssim"][FINAL_STEP, view] for view in SCORED] == pytest.approx(expected.tolist())
    gaussian = table(list(views_family(trial, networks, Metrics())))["views_ssim"]
    assert values["views_ssim"][1, MEAN_VIEW] != gaussian[1, MEAN_VIEW]


def test_without_a_model_there_is_nothing_to_score(trial: Trial, networks: Networks) -> None:
    assert scored(replace(trial, model=None), networks) == {}


def test_views_family_scores_every_step_and_repeats_the_last_means(trial: Trial, networks: Networks) -> None:
    found = table(list(views_family(trial, networks, Metrics())))
    assert found.keys() == {
        "views_psnr", "views_ssim", "views_lpips", "views_fg_psnr", "views_union_psnr",
    }  # fmt: skip
    target = trial.truth[RIG].on_white()
    assert trial.views is not None
    for step in (1, 2, 3):
        expected = psnr(trial.views[step - 1].double(), target.double())
        assert [found["views_psnr"][step, view] for view in RIG] == pytest.approx(expected.tolist())
        assert found["views_psnr"][step, MEAN_VIEW] == pytest.approx(float(expected.mean()))
    for curve in found.values():
        assert curve[FINAL_STEP, MEAN_VIEW] == curve[3, MEAN_VIEW]
        assert {step for step, _ in curve} == {1, 2, 3, FINAL_STEP} and len(curve) == 10
    assert list(views_family(replace(trial, views=None), networks, Metrics())) == []


def test_small_images_have_no_perceptual_scores(trial: Trial, networks: Networks) -> None:
    rgba = trial.truth.rgba[..., :48, :48]
    drawn = Drawn(torch.rand(3, 3, 48, 48), torch.ones(3, 1, 48, 48))
    small = replace(trial, truth=replace(trial.truth, rgba=rgba), views=torch.rand(1, 2, 3, 48, 48))
    found = table(
        [*image_family(small, networks, Metrics(), drawn), *views_family(small, networks, Metrics())]
    )
    for name in ("lpips", "fg_lpips", "dists", "views_lpips"):
        assert all(math.isnan(value) for value in found[name].values())
    assert math.isfinite(found["ssim"][FINAL_STEP, MEAN_VIEW])


def test_optional_networks_add_their_metrics(trial: Trial) -> None:
    torch.manual_seed(0)
    clip = ClipImageEncoder(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    both = Networks(lpips_vgg=load_lpips("vgg"), clip=clip)
    exact = Drawn(trial.scored_truth, trial.truth[SCORED].alpha)
    found = table(list(image_family(trial, both, Metrics(), exact)))
    assert found["clip_s"][FINAL_STEP, MEAN_VIEW] == pytest.approx(1, abs=1e-5)  # ground truth against itself
    assert found["lpips_vgg"][FINAL_STEP, MEAN_VIEW] == 0
    assert found["union_psnr"][FINAL_STEP, 1] == 100 and math.isnan(found["union_psnr"][FINAL_STEP, 3])
    different = scored(trial, both)
    assert different["clip_s"][FINAL_STEP, MEAN_VIEW] < 0.9999
    assert different["lpips_vgg"][FINAL_STEP, 1] > 0.1
    assert trial.views is not None
    views = table(list(views_family(trial, both, Metrics())))["views_lpips_vgg"]
    expected = lpips(both.lpips_vgg, trial.views[-1], trial.rig_truth).tolist()
    assert [views[FINAL_STEP, view] for view in RIG] == pytest.approx(expected) and min(expected) > 0.1
    assert views.keys() == {(FINAL_STEP, view) for view in (*RIG, MEAN_VIEW)}
