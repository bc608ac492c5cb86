"""Scores of generated views that are smaller than the renderings and the ground truth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from aligncvc.config.networks import Recon
from aligncvc.evaluate.collect import Features
from aligncvc.evaluate.consistency import ConsistencyTools, consistency_family
from aligncvc.evaluate.epipolar import EpipolarTools, epipolar_family
from aligncvc.evaluate.image_scores import ImageTools, views_family
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.metrics.image import foreground_psnr, mae, not_available, psnr, ssim
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.models.reconstructors import build_reconstructor
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views, reduced
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

SMALL, LARGE, RING, RIG = 32, 64, 8, [0, 2, 4, 6]
METRICS = {"psnr": psnr, "ssim": ssim, "lpips": not_available, "mae": mae}


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
def subject() -> Subject:
    """One step: views that are the truth at half its size, renderings that are the truth itself."""
    cameras = orbit(ring_azimuths_deg(RING), 10.0, distance=3.0, fov_y_deg=39.6, size_px=LARGE)
    drawn = rasterise(scene(), cameras, background=0.0)
    rgb = (drawn.rgb / drawn.alpha.clamp_min(1e-4)).clamp(0, 1)
    truth = Views(torch.cat([rgb, drawn.alpha.clamp(0, 1)], 1), cameras)
    renders = truth[RIG].on_white()[None]
    return Subject(
        "thing", 0, truth, RIG, [1, 3], 1.0, reduced(renders, (SMALL, SMALL)), renders, None, None, {}
    )


def found(values: Any) -> dict[tuple[str, int], float]:
    return {(v.metric, v.view): v.value for v in values if isinstance(v, Value) and v.step != -1}


def test_residual_and_delta_are_those_of_equals(subject: Subject) -> None:
    scores = found(consistency_family(subject, ConsistencyTools(METRICS)))
    for view in RIG:
        assert scores["residual_mae", view] == pytest.approx(0, abs=1e-7)
        assert scores["delta_psnr", view] == pytest.approx(0, abs=1e-6)
        assert scores["delta_ssim", view] == pytest.approx(0, abs=1e-6)
    # renderings with noise that a mean over 2 x 2 pixels halves: compared at the smaller size
    noise = 0.1 * torch.randn(subject.renders.shape, generator=torch_stream(0, "noise"))
    noisy = replace(subject, renders=subject.renders + noise)
    told = found(consistency_family(noisy, ConsistencyTools({**METRICS})))["residual_psnr", -1]
    assert told == pytest.approx(-20 * math.log10(0.05), abs=0.2)


def test_halves_are_judged_from_small_views_and_drawn_large(subject: Subject) -> None:
    narrow = {f"{end}_{what}": [value] * 3 for end in ("down", "up") for what, value in
              (("channels", 8), ("attention", False))}  # fmt: skip
    judge = build_reconstructor(Recon(weights=None, mid_attention=False, **narrow)).eval()
    scores = found(consistency_family(subject, ConsistencyTools(METRICS, judge)))
    assert {view for name, view in scores if name == "heldout_psnr"} == {*RIG, -1}
    assert all(math.isfinite(scores[name, -1]) for name in ("heldout_psnr", "split_psnr", "split_depth_mae"))


def test_views_are_scored_against_the_truth_at_their_size(subject: Subject) -> None:
    darker = replace(subject, views=subject.views * 0.8)
    scores = found(views_family(darker, ImageTools(None, None, None)))
    truth = reduced(subject.rig_truth, (SMALL, SMALL))
    alpha = reduced(subject.truth[RIG].alpha, (SMALL, SMALL))
    assert [scores["views_psnr", view] for view in RIG] == pytest.approx(psnr(truth * 0.8, truth).tolist())
    expected = foreground_psnr(truth * 0.8, truth, alpha).tolist()
    assert [scores["views_fg_psnr", view] for view in RIG] == pytest.approx(expected)


def test_distributions_compare_features_of_one_size(subject: Subject) -> None:
    features = Features(load_lite0())
    features.add(subject, None)
    assert features.size == (SMALL, SMALL)
    views, renders = (side["thing", 0] for side in (features.views, features.renders))
    torch.testing.assert_close(views, renders)
    torch.testing.assert_close(views[0], features.truth["thing"])
    alone = Features(features.encoder)
    alone.add(replace(subject, views=None), None)
    assert alone.size == (LARGE, LARGE) and not alone.views


def test_epipolar_lines_are_those_of_the_views_size(subject: Subject) -> None:
    """A dense rig of half-size views is scored in its own pixels, as the same rig of that size is."""
    ring = list(range(RING))
    views = subject.truth.on_white()[None]
    small = reduced(views, (SMALL, SMALL))
    dense = replace(subject, rig=ring, views=small, renders=None)
    size = replace(subject.truth, rgba=reduced(subject.truth.rgba, (SMALL, SMALL)),
                   cameras=subject.truth.cameras.resized(SMALL, SMALL))  # fmt: skip
    tools = EpipolarTools()

    def scores(which: Subject) -> dict[str, float]:
        return {v.metric: v.value for v in epipolar_family(which, tools)}

    told = scores(dense)
    assert told["matches"] > 0 and math.isfinite(told["sed_px"])
    assert told == scores(replace(dense, truth=size))
