"""Epipolar scores: zero for exact cameras, closed forms for wrong ones, thresholds, and found matches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from aligncvc.config.protocol_metrics import Tsed
from aligncvc.evaluate.epipolar import EPIPOLAR, LEARNED, epipolar_family, too_small
from aligncvc.evaluate.networks import load_matcher
from aligncvc.evaluate.trial import GaussianModel, Trial
from aligncvc.metrics.epipolar import (
    SIFT,
    Matcher,
    PairScore,
    fundamental,
    keypoints,
    match,
    ring_scores,
    ring_summary,
    sampson_distance,
    symmetric_epipolar_distance,
)
from aligncvc.models.encoders import disk_lightglue
from aligncvc.models.specs import CheckpointAccess
from aligncvc.scene.cameras import Cameras, look_at_origin, orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views
from aligncvc.splat import rasterise
from aligncvc.streams import torch_stream

CENTRE = 128.0
TSED = Tsed()


def project(points: np.ndarray, cameras: Cameras, view: int) -> np.ndarray:
    """World points (n, 3) -> pixels (n, 2), by the pinhole equation."""
    w2c = cameras.w2c[view].double().numpy()
    seen = points @ w2c[:3, :3].T + w2c[:3, 3]
    return seen[:, :2] / seen[:, 2:] * cameras.focal_px + CENTRE


def ball(seed: int, count: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))


def exact(positions: list[list[float]]) -> Cameras:
    """Cameras that look at the origin, in double precision."""
    return Cameras(look_at_origin(torch.tensor(positions, dtype=torch.float64)), 39.6, 256, 256)


def moved(offset: list[float]) -> Cameras:
    """Two cameras of one orientation, the second moved by `offset` in their axes (x right, y down)."""
    cameras = exact([[0, -3, 0], [0, -3, 0]])
    c2w = cameras.c2w.clone()
    c2w[1, :3, 3] += c2w[1, :3, :3] @ torch.tensor(offset, dtype=torch.float64)
    return replace(cameras, c2w=c2w)


def rolled(points: np.ndarray, degrees: float) -> np.ndarray:
    """Pixels of an image that is turned about its centre."""
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return (points - CENTRE) @ turn.T + CENTRE


def test_exact_cameras_have_distance_zero() -> None:
    cameras, points = exact([[0, -3, 0.5], [1.2, -2.6, 0.9], [3, 0.2, -0.4]]), ball(0)
    for i, j in [(0, 1), (1, 2), (2, 0)]:
        p, q, matrix = project(points, cameras, i), project(points, cameras, j), fundamental(cameras, i, j)
        assert symmetric_epipolar_distance(p, q, matrix).max() < 1e-6
        assert sampson_distance(p, q, matrix).max() < 1e-6
    single = orbit([0, 22.5], 10.0, distance=3.0, fov_y_deg=39.6, size_px=256)  # float32
    p, q = project(points, single, 0), project(points, single, 1)
    assert symmetric_epipolar_distance(p, q, fundamental(single, 0, 1)).max() < 1e-3


def test_sideways_motion_measures_the_vertical_error() -> None:
    # Epipolar lines are the rows, with gradients of one length: SED = e, Sampson = e / sqrt 2.
    cameras, points = moved([0.4, 0, 0]), ball(1)
    p, q, matrix = project(points, cameras, 0), project(points, cameras, 1), fundamental(cameras, 0, 1)
    assert np.abs(p[:, 1] - q[:, 1]).max() < 1e-9 and np.abs(p[:, 0] - q[:, 0]).min() > 1
    along = q + np.array([17.0, 0])
    assert symmetric_epipolar_distance(p, along, matrix).max() < 1e-6
    for error in (0.5, -3.0):
        off = q + np.array([0, error])
        assert np.allclose(symmetric_epipolar_distance(p, off, matrix), abs(error), atol=1e-6)
        assert np.allclose(sampson_distance(p, off, matrix), abs(error) / math.sqrt(2), atol=1e-6)


def test_a_rolled_second_camera_has_the_analytic_distance() -> None:
    # Sideways motion: a point at (x, y) of the centre is seen at height x sin a + y cos a instead of y.
    cameras, points = moved([0.4, 0, 0]), ball(2)
    p, q, matrix = project(points, cameras, 0), project(points, cameras, 1), fundamental(cameras, 0, 1)
    for degrees in (1.0, 10.0, -25.0):
        a = math.radians(degrees)
        x, y = (q - CENTRE).T
        expected = np.abs(x * math.sin(a) + y * math.cos(a) - y)
        assert np.allclose(symmetric_epipolar_distance(p, rolled(q, degrees), matrix), expected, atol=1e-6)


def test_forward_motion_has_the_analytic_distance_too() -> None:
    # The epipole is the centre: a point r px from it, turned by a, is r sin a off its line.
    cameras, points = moved([0, 0, 0.5]), ball(3)
    p, q, matrix = project(points, cameras, 0), project(points, cameras, 1), fundamental(cameras, 0, 1)
    r_p, r_q = (np.hypot(*(x - CENTRE).T) for x in (p, q))
    assert (r_q > r_p).all()
    sine = math.sin(math.radians(7))
    off = rolled(q, 7)
    assert np.allclose(symmetric_epipolar_distance(p, off, matrix), (r_p + r_q) / 2 * sine, atol=1e-6)
    sampson = r_p * r_q / np.hypot(r_p, r_q) * sine
    assert np.allclose(sampson_distance(p, off, matrix), sampson, atol=1e-6)


def test_swapping_the_views_changes_nothing() -> None:
    cameras = exact([[0, -3, 0.5], [1.2, -2.6, 0.9]])
    noise = np.random.default_rng(5).normal(0, 3, (200, 2))
    p, q = project(ball(4), cameras, 0), project(ball(4), cameras, 1) + noise
    there, back = fundamental(cameras, 0, 1), fundamental(cameras, 1, 0)
    for distance in (symmetric_epipolar_distance, sampson_distance):
        assert distance(p, q, there).min() > 0 and distance(p, q, there).mean() > 0.5
        assert np.allclose(distance(p, q, there), distance(q, p, back), atol=1e-9)


def test_sampson_is_the_distance_to_the_nearest_pair_that_fits() -> None:
    # To first order, against a small least-squares correction found by projecting on the tangent repeatedly.
    cameras = exact([[0, -3, 0.5], [1.2, -2.6, 0.9]])
    noise = np.random.default_rng(6).normal(0, 0.5, (50, 2))
    p, q = project(ball(7, 50), cameras, 0), project(ball(7, 50), cameras, 1) + noise
    matrix = fundamental(cameras, 0, 1)
    one = np.ones((50, 1))
    x, y = p.copy(), q.copy()
    for _ in range(20):  # Newton on the constraint, always from the measured pair
        hx, hy = np.hstack([x, one]), np.hstack([y, one])
        gradient = np.hstack([(hy @ matrix)[:, :2], (hx @ matrix.T)[:, :2]])
        value = np.einsum("ni,ij,nj->n", hy, matrix, hx)
        value += (gradient * (np.hstack([p, q]) - np.hstack([x, y]))).sum(1)
        step = (value / (gradient**2).sum(1))[:, None] * gradient
        x, y = p - step[:, :2], q - step[:, 2:]
    nearest = np.sqrt(((x - p) ** 2 + (y - q) ** 2).sum(1))
    assert symmetric_epipolar_distance(x, y, matrix).max() < 1e-4
    assert np.allclose(sampson_distance(p, q, matrix), nearest, rtol=0.02, atol=1e-4)


def test_thresholds_and_pairs_without_matches() -> None:
    scores = [
        PairScore(10, 1.9, 1.0),
        PairScore(9, 0.1, 0.1),
        PairScore(50, 2.0, 1.6),
        PairScore(0, *[math.nan] * 2),
    ]
    found = ring_summary(scores, 10, 2.0)
    assert found == {
        "sed_px": pytest.approx(4.0 / 3),
        "sampson_px": pytest.approx(0.9),
        "tsed": 0.25,
        "matches": pytest.approx(69 / 4),
    }
    looser = ring_summary(scores, 9, 2.1)
    assert looser["tsed"] == 0.75
    none = ring_summary(scores[3:], 10, 2.0)
    assert none["tsed"] == 0 and none["matches"] == 0
    assert math.isnan(none["sed_px"]) and math.isnan(none["sampson_px"])


def spots(shift: tuple[float, float], size: int = 200) -> Tensor:
    """(4, size, size): soft spots of many sizes on grey, moved by `shift` px; opaque off the border."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[0:size, 0:size] + 0.5
    image = np.full((size, size), 0.5)
    table = [*rng.uniform(30, 170, (2, 90)), rng.uniform(2, 6, 90), rng.uniform(-0.4, 0.4, 90)]
    for cx, cy, s, level in np.transpose(table):
        image += level * np.exp(-((x - cx - shift[0]) ** 2 + (y - cy - shift[1]) ** 2) / (2 * s * s))
    alpha = np.zeros((size, size))
    alpha[15:-15, 15:-15] = 1
    return torch.tensor(np.stack([*[image.clip(0, 1)] * 3, alpha])).float()


def test_match_finds_the_shift_of_a_textured_pair() -> None:
    one, other = keypoints(spots((0, 0)), 1.0), keypoints(spots((7.0, -3.5)), 1.0)
    p, q = match(one, other)
    assert len(p) == len(q) > 30
    assert np.allclose(np.median(q - p, 0), [7.0, -3.5], atol=0.1)
    assert (np.abs(q - p - [7.0, -3.5]).max(1) < 0.5).mean() > 0.85
    again = match(keypoints(spots((0, 0)), 1.0), keypoints(spots((7.0, -3.5)), 1.0))
    assert np.array_equal(p, again[0]) and np.array_equal(q, again[1])
    back = match(other, one)
    assert {tuple(x) for x in np.hstack([p, q])} == {tuple(x) for x in np.hstack([back[1], back[0]])}


def test_positions_have_pixel_centres_at_half_integers_in_the_enlarged_image() -> None:
    y, x = torch.meshgrid(torch.arange(64.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    spot = 1 - torch.exp(-((x - 20.3) ** 2 + (y - 41.7) ** 2) / (2 * 2.5**2))
    rgba = torch.stack([spot, spot, spot, torch.ones_like(spot)])
    for factor in (1.0, 4.0):
        points, _ = keypoints(rgba, factor)
        assert np.abs(points - np.array([20.3, 41.7]) * factor).max(1).min() < 0.05 * factor


def test_without_texture_or_inside_no_mask_there_is_no_match() -> None:
    blank = torch.ones(4, 64, 64)
    assert keypoints(blank, 4.0)[0].shape == (0, 2)
    assert len(match(keypoints(blank, 4.0), keypoints(spots((0, 0)), 1.0))[0]) == 0
    hidden = spots((0, 0))
    hidden[3] = 0
    assert len(keypoints(hidden, 1.0)[0]) == 0


def textured(spots: int = 400, core: int = 400) -> Gaussians:
    """A grey opaque ball whose surface is covered with small coloured spots."""
    g = torch_stream(0, "epipolar")
    directions = torch.nn.functional.normalize(torch.randn(spots + core, 3, generator=g), dim=-1)
    radii, sizes = (torch.tensor([a] * spots + [b] * core)[:, None] for a, b in ((0.75, 0.62), (0.03, 0.08)))
    colors = torch.rand(spots + core, 3, generator=g)
    colors[spots:] = 0.6
    upright = torch.tensor([[1.0, 0, 0, 0]]).repeat(spots + core, 1)
    return Gaussians(
        directions * radii, sizes.expand(-1, 3).clone(), upright, torch.full((spots + core,), 0.99), colors
    )


@pytest.fixture(scope="module")
def ball_ring() -> tuple[Gaussians, Cameras, Tensor]:
    scene = textured()
    cameras = orbit(ring_azimuths_deg(24), 10.0, distance=3.0, fov_y_deg=39.6, size_px=96)
    drawing = rasterise(scene, cameras)
    return scene, cameras, torch.cat([drawing.rgb.clamp(0, 1), drawing.alpha.clamp(0, 1)], 1)


def test_renderings_of_one_scene_agree_and_wrong_cameras_do_not(
    ball_ring: tuple[Gaussians, Cameras, Tensor],
) -> None:
    _, cameras, rgba = ball_ring
    right = ring_summary(ring_scores(rgba, cameras, 256), 10, 2.0)
    assert right["matches"] > 15 and right["sed_px"] < 1 and right["tsed"] > 0.9
    assert right["sampson_px"] < right["sed_px"]
    steps = ring_azimuths_deg(24)
    wobbly = orbit(steps, [10 + 10 * (-1) ** i for i in range(24)], distance=3.0, fov_y_deg=39.6, size_px=96)
    wrong = ring_summary(ring_scores(rgba, wobbly, 256), 10, 2.0)
    assert wrong["matches"] == right["matches"], "matching knows no cameras"
    assert wrong["sed_px"] > 5 * right["sed_px"] and wrong["tsed"] < 0.1
    assert ring_scores(rgba, cameras, 256) == ring_scores(rgba, cameras, 256)


def test_a_sparse_rig_is_judged_by_renderings_and_a_dense_one_by_its_views(
    ball_ring: tuple[Gaussians, Cameras, Tensor],
) -> None:
    scene, cameras, rgba = ball_ring
    views = rgba[:, :3][None]
    trial = Trial(
        "thing", 0, Views(rgba, cameras), [0, 6, 12, 18], list(range(24)), 1.0, views[:, ::6], None,
        GaussianModel(scene), None, {},
    )  # fmt: skip
    sparse = {(v.metric, v.step): v.value for v in epipolar_family(trial, TSED)}
    by_hand = {(name, -1): x for name, x in ring_summary(ring_scores(rgba, cameras, 256), 10, 2.0).items()}
    assert sparse == pytest.approx(by_hand)
    assert list(epipolar_family(replace(trial, model=None), TSED)) == []
    dark = torch.cat([views.flip(1), views])  # the first step shows the wrong views
    dense = {
        (v.metric, v.step): v.value
        for v in epipolar_family(replace(trial, rig=list(range(24)), views=dark), TSED)
    }
    assert {step for _, step in dense} == {1, 2}
    assert dense["sed_px", 2] < 1 < dense["sed_px", 1]
    assert dense["tsed", 2] > dense["tsed", 1]


LEARNT = Tsed(matcher="disk_lightglue")


def given(cameras: Cameras, error_px: float) -> Matcher:
    """Known matches: points of a ball at their places, those of the second view `error_px` off the lines."""
    seen = iter(range(len(cameras)))
    points = ball(9, 40)

    def match(i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        p, q = project(points, cameras, i), project(points, cameras, j)
        line = np.hstack([p, np.ones((40, 1))]) @ fundamental(cameras, i, j).T
        return p, q + error_px * line[:, :2] / np.hypot(line[:, 0], line[:, 1])[:, None]

    return Matcher(lambda image, factor: next(seen), match)


def ring_of_views(size_px: int, views: int = 8) -> Trial:
    cameras = orbit(ring_azimuths_deg(views), 10.0, distance=3.0, fov_y_deg=39.6, size_px=size_px)
    rgba = torch.ones(views, 4, size_px, size_px)
    return Trial(
        "thing",
        0,
        Views(rgba, cameras),
        list(range(views)),
        [0],
        1.0,
        rgba[None, :, :3],
        None,
        None,
        None,
        {},
    )


def test_any_matcher_is_measured_by_the_same_definitions() -> None:
    cameras = ring_of_views(256).truth.cameras
    rgba = torch.ones(8, 4, 256, 256)
    exactly = ring_scores(rgba, cameras, 256, given(cameras, 0.0))
    assert [s.matches for s in exactly] == [40] * 8 and max(s.sed_px for s in exactly) < 1e-3
    off = ring_scores(rgba, cameras, 256, given(cameras, 3.0))
    # one half of SED is the distance in the second view, which is 3; lines of both views are about as dense
    assert all(2.4 < s.sed_px < 3.6 and s.sampson_px < s.sed_px for s in off)


def test_columns_tell_the_matcher() -> None:
    trial = ring_of_views(256)
    learned = {v.metric: v.value for v in epipolar_family(trial, LEARNT, given(trial.truth.cameras, 0.0))}
    assert list(learned) == [LEARNED + name for name in EPIPOLAR]
    assert learned["disk_lightglue_tsed"] == 1 and learned["disk_lightglue_sed_px"] < 1e-3
    default = {v.metric: v.value for v in epipolar_family(trial, TSED, given(trial.truth.cameras, 3.0))}
    assert list(default) == list(EPIPOLAR) and default["tsed"] == 0 and default["matches"] == 40


def test_learned_matches_of_small_views_have_no_value_and_the_reason() -> None:
    trial = ring_of_views(128)
    assert list(epipolar_family(trial, LEARNT, given(trial.truth.cameras, 0.0))) == []
    sentence = "n/a (the matcher disk_lightglue needs views of 256 px or more, and these have 128)"
    assert too_small(trial, LEARNT) == {LEARNED + name: sentence for name in EPIPOLAR}
    assert too_small(trial, TSED) == too_small(ring_of_views(256), LEARNT) == {}


def test_without_the_extra_there_is_no_matcher_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    access = CheckpointAccess()
    assert load_matcher(TSED, access) == (SIFT, {})
    monkeypatch.setattr(disk_lightglue.importlib.util, "find_spec", lambda name: None)
    matcher, reasons = load_matcher(LEARNT, access)
    assert matcher is None and set(reasons) == {LEARNED + name for name in EPIPOLAR}
    assert all(x.startswith("n/a (package missing): kornia is not installed; ") for x in reasons.values())
    assert list(epipolar_family(ring_of_views(256), LEARNT, matcher)) == []
