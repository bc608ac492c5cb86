"""Scores of generated views that are smaller than the renderings and the ground truth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from aligncvc.config.protocol_metrics import Metrics, Tsed
from aligncvc.evaluate.distribution import Features
from aligncvc.evaluate.epipolar import epipolar_family
from aligncvc.evaluate.families import (
    consistency_family,
    image_metrics,
    views_family,
    without_value,
)
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.trial import Trial, Value
from aligncvc.metrics.psnr import foreground_psnr, psnr
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.kinds import complete
from aligncvc.models.pair import build_reconstructor
from aligncvc.models.specs import ModelSpec
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views, reduced
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

SMALL, LARGE, RING, RIG = 32, 64, 8, [0, 2, 4, 6]
METRICS = image_metrics(Networks(), Metrics())


def scene(count: int = 120) -> Gaussians:
    g = torch_stream(0, "two sizes")
    return Gaussians(
        means=torch.randn(count, 3, generator=g) * 0.3,
        scales=0.03 + 0.05 * torch.rand(count, 3, generator=g),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1),
        opacities=torch.full((count,), 0.95),
        colors=torch.rand(count, 3, generator=g),
    )


@pytest.fixture(scope="module")
def trial() -> Trial:
    """One step: views that are the truth at half its size, renderings that are the truth itself."""
    cameras = orbit(ring_azimuths_deg(RING), 10.0, distance=3.0, fov_y_deg=39.6, size_px=LARGE)
    drawn = rasterise(scene(), cameras, background=0.0)
    rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-4)).clamp(0, 1)
    truth = Views(torch.cat([rgb, drawn.alpha.clamp(0, 1)], 1), cameras)
    renders = truth[RIG].on_white()[None]
    return Trial(
        "thing", 0, truth, RIG, [1, 3], 1.0, reduced(renders, (SMALL, SMALL)), renders, None, None, {}
    )


def found(values: Any) -> dict[tuple[str, int], float]:
    return {(v.metric, v.view): v.value for v in values if isinstance(v, Value) and v.step != -1}


def test_residual_and_delta_are_those_of_equals(trial: Trial) -> None:
    scores = found(consistency_family(trial, METRICS, None))
    for view in RIG:
        assert scores["residual_mae", view] == pytest.approx(0, abs=1e-7)
        assert scores["delta_psnr", view] == pytest.approx(0, abs=1e-6)
        assert scores["delta_ssim", view] == pytest.approx(0, abs=1e-6)
    # renderings with noise that a mean over 2 x 2 pixels halves: compared at the smaller size
    noise = 0.1 * torch.randn(trial.renders.shape, generator=torch_stream(0, "noise"))
    noisy = replace(trial, renders=trial.renders + noise)
    told = found(consistency_family(noisy, METRICS, None))["residual_psnr", -1]
    assert told == pytest.approx(-20 * math.log10(0.05), abs=0.2)


def test_views_too_small_for_lpips_have_none_and_the_rest_is_scored(trial: Trial) -> None:
    """The renderings are large enough for it, the views are not."""
    scores = found(consistency_family(trial, image_metrics(Networks(load_lpips()), Metrics()), None))
    assert math.isnan(scores["residual_lpips", -1]) and math.isnan(scores["delta_lpips", -1])
    assert scores["residual_mae", -1] == pytest.approx(0, abs=1e-7)
    assert without_value(trial)["residual_lpips"] == "n/a (images below 64 px)"
    assert "split_lpips" not in without_value(trial)


def test_halves_are_judged_from_small_views_and_drawn_large(trial: Trial) -> None:
    narrow = {f"{end}_{what}": [value] * 3 for end in ("down", "up") for what, value in
              (("channels", 8), ("attention", False))}  # fmt: skip
    kind, network = complete("reconstructors", {"kind": "lgm", "mid_attention": False, **narrow}, "test")
    judge = build_reconstructor(ModelSpec(kind=kind, network=network)).eval()
    scores = found(consistency_family(trial, METRICS, judge))
    assert {view for name, view in scores if name == "heldout_psnr"} == {*RIG, -1}
    assert all(math.isfinite(scores[name, -1]) for name in ("heldout_psnr", "split_psnr", "split_depth_mae"))


def test_views_are_scored_against_the_truth_at_their_size(trial: Trial) -> None:
    darker = replace(trial, views=trial.views * 0.8)
    scores = found(views_family(darker, Networks(), Metrics()))
    truth = reduced(trial.rig_truth, (SMALL, SMALL))
    alpha = reduced(trial.truth[RIG].alpha, (SMALL, SMALL))
    assert [scores["views_psnr", view] for view in RIG] == pytest.approx(
        psnr((truth * 0.8).double(), truth.double()).tolist()
    )
    expected = foreground_psnr((truth * 0.8).double(), truth.double(), alpha).tolist()
    assert [scores["views_fg_psnr", view] for view in RIG] == pytest.approx(expected)


def test_distributions_compare_features_of_one_size(trial: Trial) -> None:
    features = Features(load_lite0())
    features.add(trial, None)
    assert features.size == (SMALL, SMALL)
    views, renders = (side["thing", 0] for side in (features.views, features.renders))
    torch.testing.assert_close(views, renders)
    torch.testing.assert_close(views[0], features.truth["thing"])
    alone = Features(features.encoder)
    alone.add(replace(trial, views=None), None)
    assert alone.size == (LARGE, LARGE) and not alone.views


def test_epipolar_lines_are_those_of_the_views_size(trial: Trial) -> None:
    """A dense rig of half-size views is scored in its own pixels, as the same rig of that size is."""
    ring = list(range(RING))
    views = trial.truth.on_white()[None]
    small = reduced(views, (SMALL, SMALL))
    dense = replace(trial, rig=ring, views=small, renders=None)
    size = replace(trial.truth, rgba=reduced(trial.truth.rgba, (SMALL, SMALL)),
                   cameras=trial.truth.cameras.resized(SMALL, SMALL))  # fmt: skip

    def scores(which: Trial) -> dict[str, float]:
        return {v.metric: v.value for v in epipolar_family(which, Tsed())}

    told = scores(dense)
    assert told["matches"] > 0 and math.isfinite(told["sed_px"])
    assert told == scores(replace(dense, truth=size))
