"""Distances, depths and clouds against closed forms; tolerances are those of the sampling."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from aligncvc.config.protocol_metrics import Geometry
from aligncvc.errors import UserError
from aligncvc.evaluate.families import geometry_family
from aligncvc.evaluate.ground_truth import load_truth_surface
from aligncvc.evaluate.trial import GaussianModel, MeshModel, Model, Trial
from aligncvc.meshes import draw_mesh, save_glb
from aligncvc.metrics.surface_alignment import Points
from aligncvc.metrics.surface_distance import (
    CHAMFER,
    chamfer_half_sum,
    f_score,
    gaussian_points,
    nearest,
    sample_surface,
    surface_distances,
)
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.views import Views

SETTINGS = Geometry(points=4000, alignment=["none"], grid=40)
THRESHOLDS = SETTINGS.thresholds
CAMERAS = orbit([0, 90], 0, distance=3, fov_y_deg=39.6, size_px=64)
"""View 0 stands at y = -3 and looks along +y."""


def _sphere(radius: float) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(4, radius)


def _box(side: float, x: float = 0.0) -> trimesh.Trimesh:
    return trimesh.creation.box((side, side, side), trimesh.transformations.translation_matrix((x, 0, 0)))


def _gaussians(
    means: Points, scales: tuple[float, float, float], quat: Points | None = None, opacity: float = 0.99
) -> Gaussians:
    count = len(means)
    return Gaussians(
        torch.tensor(means, dtype=torch.float32).reshape(-1, 3),
        torch.tensor(scales).expand(count, 3).contiguous(),
        torch.tensor([1.0, 0, 0, 0] if quat is None else quat, dtype=torch.float32)
        .expand(count, 4)
        .contiguous(),
        torch.full((count,), opacity),
        torch.full((count, 3), 0.5),
    )


def _subject(model: Model | None, truth: trimesh.Trimesh, *, surface: bool = True) -> Trial:
    drawn = draw_mesh(truth, CAMERAS)
    views = Views(torch.cat([drawn.rgb, drawn.alpha], 1), CAMERAS, depth=drawn.depth[:, 0])
    return Trial("thing", 0, views, [0], [0, 1], 1.0, None, None, model, truth if surface else None, {})


def _family(trial: Trial, settings: Geometry = SETTINGS) -> dict[str, float]:
    return {value.metric: value.value for value in geometry_family(trial, settings, 0)}


# distances


@pytest.mark.parametrize(("r1", "r2"), [(0.5, 0.7), (0.9, 0.6)])
def test_concentric_spheres(r1: float, r2: float) -> None:
    """The nearest sample is d to the side of the foot: sqrt(t^2 + gap^2), t^2 of order area / (pi n) < 8e-4.

    So a distance is too long by at most about t^2 / (2 gap) = 2e-3, and a sum of squares by 2 t^2.
    """
    a, b = (sample_surface(_sphere(r), 4000, 0, r) for r in (r1, r2))
    found, gap = surface_distances(a, b), abs(r1 - r2)
    assert found["chamfer_half_sum"] == pytest.approx(gap, abs=3e-3)
    assert found["chamfer_sum_x100"] == pytest.approx(200 * gap, abs=0.6)
    assert found["chamfer_squared_sum"] == pytest.approx(2 * gap**2, abs=2e-3)
    assert found["chamfer_sum_x100"] == pytest.approx(200 * found["chamfer_half_sum"], rel=1e-12)
    there, back = nearest(a, b)
    squared = float((there**2).mean() + (back**2).mean())
    assert (chamfer_half_sum(a, b), squared) == (found["chamfer_half_sum"], found["chamfer_squared_sum"])


def test_conventions_on_points_by_hand() -> None:
    """Two points against one: distances to the truth 3 and 4, back 3."""
    prediction, truth = np.array([[3.0, 0, 0], [0, 4.0, 0]]), np.zeros((1, 3))
    thresholds = (2.9, 3.0, 4.0)
    found = surface_distances(prediction, truth, thresholds=thresholds)
    assert found["chamfer_half_sum"] == pytest.approx((3.5 + 3) / 2)
    assert found["chamfer_sum_x100"] == pytest.approx(650)
    assert found["chamfer_squared_sum"] == pytest.approx(12.5 + 9)
    assert [found[f"f_{t:g}"] for t in thresholds] == [0, pytest.approx(2 * 0.5 / 1.5), 1]
    back = surface_distances(truth, prediction, thresholds=thresholds)
    assert back == pytest.approx(found)


def test_f_score_of_parallel_planes_is_a_step() -> None:
    plane = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4000, 3)) * [1, 1, 0]
    found = surface_distances(plane[0], plane[1] + [0, 0, 0.07], thresholds=THRESHOLDS)
    assert [found[f"f_{t:g}"] for t in (0.02, 0.05, 0.1, 0.2)] == [0, 0, 1, 1]


def test_f_score_is_the_harmonic_mean() -> None:
    assert f_score(np.array([0.1, 0.1, 0.3, 0.3]), np.array([0.1, 0.3]), 0.1) == 0.5
    assert f_score(np.array([0.1, 0.3, 0.3, 0.3]), np.array([0.1]), 0.2) == pytest.approx(0.4)


def test_the_same_surface() -> None:
    """Equal points are at 0; independent samples at 1 / (2 sqrt(density)), to 5 % of it with 4,000 points."""
    mesh = _sphere(0.6)
    a, b = (sample_surface(mesh, 4000, 0, name) for name in "ab")
    same = surface_distances(a, a, thresholds=THRESHOLDS)
    assert all(same[name] == 0 for name in CHAMFER.values())
    assert all(same[f"f_{t:g}"] == 1 for t in THRESHOLDS)
    noise = 0.5 * math.sqrt(mesh.area / SETTINGS.points)
    assert chamfer_half_sum(a, b) == pytest.approx(noise, rel=0.05)


def test_a_common_motion_and_the_order_are_of_no_matter() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((500, 3)), rng.standard_normal((400, 3)) * 0.5
    found = surface_distances(a, b)
    turn = Rotation.random(random_state=1).as_matrix()
    assert surface_distances(a @ turn.T + [1, 2, 3], b @ turn.T + [1, 2, 3]) == pytest.approx(found)
    assert surface_distances(rng.permutation(a), rng.permutation(b)) == pytest.approx(found)
    doubled = surface_distances(2 * a, 2 * b)
    assert doubled["chamfer_half_sum"] == pytest.approx(2 * found["chamfer_half_sum"])
    assert doubled["chamfer_squared_sum"] == pytest.approx(4 * found["chamfer_squared_sum"])


def test_samples_lie_evenly_on_the_surface_and_depend_on_seed_and_name() -> None:
    mesh = trimesh.creation.box((1.0, 0.5, 0.25))
    points = sample_surface(mesh, 4000, 0, "x")
    assert points.shape == (4000, 3)
    assert np.isclose(np.abs(points), [0.5, 0.25, 0.125]).any(1).all()
    for half in (points[:2000], points[2000:]):  # the order is random: any part is a sample too
        share = np.isclose(np.abs(half[:, 2]), 0.125).mean()
        assert share == pytest.approx(1.0 / mesh.area, abs=0.04)  # two faces of 1 x 0.5; 3.7 deviations
    assert np.array_equal(points, sample_surface(mesh, 4000, 0, "x"))
    assert not np.array_equal(points, sample_surface(mesh, 4000, 0, "y"))
    assert not np.array_equal(points, sample_surface(mesh, 4000, 1, "x"))


# the family


def test_volume_iou_of_shifted_cubes() -> None:
    found = _family(_subject(MeshModel(_box(0.8, 0.2)), _box(0.8)))
    assert found["volume_iou@none"] == pytest.approx(0.6 / 1.0, abs=1e-12)
    assert found["watertight_truth"] == found["watertight_model"] == 1


def test_an_open_mesh_has_no_volume() -> None:
    whole = _box(0.8)
    opened = trimesh.Trimesh(whole.vertices, whole.faces[1:], process=False)
    found = _family(_subject(MeshModel(whole), opened))
    assert math.isnan(found["volume_iou@none"])
    assert (found["watertight_truth"], found["watertight_model"]) == (0, 1)
    assert math.isfinite(found["chamfer_half_sum@none"])
    found = _family(_subject(MeshModel(opened), whole))
    assert math.isnan(found["volume_iou@none"])
    assert (found["watertight_truth"], found["watertight_model"]) == (1, 0)


def _nothing() -> list[Model]:
    transparent = _gaussians(np.zeros((5, 3)), (0.1, 0.1, 0.1), opacity=0.001)
    return [
        MeshModel(trimesh.Trimesh(np.zeros((0, 3)), np.zeros((0, 3), int))),
        GaussianModel(transparent),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_an_empty_prediction_has_no_numbers(index: int) -> None:
    settings = Geometry(points=100, alignment=["none", "yaw"])
    found = _family(_subject(_nothing()[index], _box(0.8)), settings)
    assert found.pop("mask_iou") == 0
    assert (found.pop("watertight_truth"), found.pop("watertight_model")) == (1, 0)
    assert all(math.isnan(value) for value in found.values())
    full = _family(_subject(MeshModel(_box(0.8)), _box(0.8)), settings)
    assert set(found) == set(full) - {"mask_iou", "watertight_truth", "watertight_model"}


def test_without_model_or_surface() -> None:
    assert _family(_subject(None, _box(0.8))) == {}
    assert set(_family(_subject(MeshModel(_box(0.8)), _box(0.8), surface=False))) == {"depth_mae", "mask_iou"}


def test_rungs_are_named_and_undo_what_they_fit() -> None:
    settings = Geometry(points=2000, alignment=["none", "scale_centre"], grid=40)
    found = _family(_subject(MeshModel(_box(0.6, 0.3)), _box(0.8)), settings)
    assert found["chamfer_half_sum@none"] > 0.1
    assert found["volume_iou@none"] < 0.4
    noise = 0.5 * math.sqrt(_box(0.8).area / 2000)
    assert found["chamfer_half_sum@scale_centre"] == pytest.approx(noise, rel=0.25)
    assert found["alignment_residual@scale_centre"] == pytest.approx(noise, rel=0.25)
    assert found["volume_iou@scale_centre"] > 0.9


def _even_sphere(radius: float, count: int) -> Points:
    """(count, 3) a Fibonacci spiral: no gap that a view could look through."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, math.pi * (1 + math.sqrt(5)) * k
    ring = np.sqrt(1 - z**2)
    return radius * np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1)


def test_a_sphere_of_gaussians_is_near_the_sphere() -> None:
    model = GaussianModel(_gaussians(_even_sphere(0.6, 1500), (0.03, 0.03, 0.03)))
    found = _family(_subject(model, _sphere(0.6)))
    assert found["watertight_model"] == 1
    # the surface is drawn about a deviation (0.03) before the centres; 4,000 points have a noise of 0.017
    assert found["chamfer_half_sum@none"] < 0.04
    assert found["f_0.1@none"] > 0.99
    assert found["volume_iou@none"] > (0.6 / 0.63) ** 3
    # at the limb they are opaque out to 3 deviations at most; these are sqrt(0.03^2 + 0.3 pixels^2) = 0.035
    assert (0.6 / 0.705) ** 2 < found["mask_iou"] < 1
    assert found["depth_mae"] < 0.03
    assert found["chamfer_half_sum_points@none"] < 0.03
    assert found == _family(_subject(GaussianModel(model.gaussians), _sphere(0.6)))  # to the bit


# depth


def _wall(y: float, half: float = 2.0) -> trimesh.Trimesh:
    corners = np.array([[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]])
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def _seen_by_first(model: Model, truth: trimesh.Trimesh) -> dict[str, float]:
    first = _subject(model, truth, surface=False)
    return _family(Trial(**{**vars(first), "scored": [0]}))


@pytest.mark.parametrize("moved", [-0.2, 0.0, 0.35])
def test_a_wall_moved_along_the_axis(moved: float) -> None:
    found = _seen_by_first(MeshModel(_wall(moved)), _wall(0.0))
    assert found["depth_mae"] == pytest.approx(abs(moved), abs=1e-5)
    assert found["mask_iou"] == 1


def test_a_wall_of_gaussians_moved_along_the_axis() -> None:
    """Flat Gaussians at one depth: sum w z / sum w is that depth wherever they are opaque."""
    x, z = np.meshgrid(*[np.linspace(-1.4, 1.4, 36)] * 2)
    means = np.stack([x, np.full_like(x, 0.25), z], -1).reshape(-1, 3)
    found = _seen_by_first(GaussianModel(_gaussians(means, (0.06, 1e-3, 0.06))), _wall(0.0))
    assert found["depth_mae"] == pytest.approx(0.25, abs=1e-4)
    assert found["mask_iou"] == 1


def test_equal_silhouettes_at_another_depth() -> None:
    """Scaled about the camera, a sphere keeps its silhouette and its depths grow by the factor."""
    truth, factor, eye = _sphere(0.6), 1.1, np.array([0, -3.0, 0])
    moved = trimesh.Trimesh((truth.vertices - eye) * factor + eye, truth.faces, process=False)
    drawn = draw_mesh(truth, CAMERAS[[0]])
    depths = drawn.depth[drawn.alpha > 0.5]
    found = _seen_by_first(MeshModel(moved), truth)
    assert found["mask_iou"] == 1
    assert found["depth_mae"] == pytest.approx((factor - 1) * float(depths.mean()), rel=2e-3)


def test_silhouettes_apart_share_no_depth() -> None:
    found = _seen_by_first(MeshModel(_box(0.3, 0.7)), _box(0.3, -0.7))
    assert found["mask_iou"] == 0
    assert math.isnan(found["depth_mae"])


# clouds of Gaussians


def test_draws_have_the_covariance_of_their_gaussian() -> None:
    """12,000 draws: an entry's deviation is about 1.3 % of the largest variance."""
    turn, scales = Rotation.from_euler("zyx", [40, -25, 70], degrees=True), (0.3, 0.1, 0.02)
    quat, mean = np.roll(turn.as_quat(), 1), np.array([0.1, 0.2, -0.3], np.float32)
    cloud = gaussian_points(_gaussians(np.tile(mean, (4000, 1)), scales, quat), 16_000, 0, "g")
    draws = cloud[(cloud != mean.astype(np.float64)).any(1)]
    assert (len(cloud), len(draws)) == (16_000, 12_000)  # each centre, and three draws
    expected = turn.as_matrix() @ np.diag(np.square(scales)) @ turn.as_matrix().T
    assert np.abs(np.cov(draws.T) - expected).max() < 0.05 * scales[0] ** 2
    assert np.abs(draws.mean(0) - mean).max() < 0.01


def test_what_is_never_drawn_is_no_point() -> None:
    seen = _gaussians(np.zeros((10, 3)), (0.01, 0.01, 0.01), opacity=0.1)
    unseen = _gaussians(np.full((10, 3), 5.0), (0.01, 0.01, 0.01), opacity=0.003)
    both = Gaussians(*(torch.cat([getattr(seen, key), getattr(unseen, key)]) for key in vars(seen)))
    cloud = gaussian_points(both, 4000, 0, "g")
    assert cloud.shape == (40, 3)
    assert np.abs(cloud).max() < 0.1
    assert gaussian_points(unseen, 4000, 0, "g").shape == (0, 3)
    assert gaussian_points(seen, 7, 0, "g").shape == (7, 3)
    assert np.array_equal(cloud, gaussian_points(both, 4000, 0, "g"))


# the true surface on disk


def _manifest(folder: Path, path: str = "thing.glb") -> Path:
    manifest = folder / "manifest.tsv"
    manifest.write_text(f"id\tpath\tstatus\nthing\t{path}\tok\n", encoding="utf-8")
    return manifest


FACTS = {"normalisation": {"scale": 0.5, "offset": [0.1, 0.2, -0.3]}}


def test_the_true_surface_stands_where_the_renderer_put_it(tmp_path: Path) -> None:
    """A file of another writer, y up: (x, y, z) -> (x, -z, y), then scale and offset."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]])
    faces = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    trimesh.Trimesh(vertices, faces, process=False).export(tmp_path / "thing.glb")
    mesh = load_truth_surface(_manifest(tmp_path), "thing", FACTS)
    upright = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 2], [0, -3.0, 0]])
    expected = 0.5 * upright + [0.1, 0.2, -0.3]
    found = np.asarray(mesh.vertices)
    assert len(found) == 4
    assert all(np.abs(found - corner).max(1).min() < 1e-6 for corner in expected)
    assert mesh.is_watertight


def test_our_own_glb_comes_back_normalised(tmp_path: Path) -> None:
    mesh = trimesh.creation.box((0.4, 0.8, 1.2))
    save_glb(tmp_path / "thing.glb", mesh)
    found = load_truth_surface(_manifest(tmp_path), "thing", FACTS)
    assert np.allclose(found.bounds, 0.5 * mesh.bounds + [0.1, 0.2, -0.3], atol=1e-6)
    assert found.volume == pytest.approx(mesh.volume / 8, rel=1e-5)
    assert found.is_watertight


def test_a_surface_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    save_glb(tmp_path / "thing.glb", _box(0.4))
    manifest = _manifest(tmp_path)
    cases: list[tuple[Path, str, dict[str, Any]]] = [
        (manifest, "other", FACTS),
        (manifest, "thing", {}),
        (manifest, "thing", {"normalisation": None}),
        (manifest, "thing", {"normalisation": {"scale": "big", "offset": [0, 0, 0]}}),
        (tmp_path / "nowhere.tsv", "thing", FACTS),
    ]
    for path, name, facts in cases:
        with pytest.raises(UserError, match=f"true surface of {name} cannot be placed") as error:
            load_truth_surface(path, name, facts)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"gone\.glb"):
        load_truth_surface(_manifest(tmp_path, "gone.glb"), "thing", FACTS)
