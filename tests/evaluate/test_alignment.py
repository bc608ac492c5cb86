"""The alignment ladder on an object without symmetry that is moved by a known similarity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from aligncvc.metrics.surface_alignment import (
    COMPARED_POINTS,
    RUNGS,
    Points,
    Similarity,
    ladder,
    rotation_grid,
    umeyama,
)
from aligncvc.metrics.surface_distance import sample_surface

SHIFT = np.array([0.15, -0.2, 0.1])


def _object() -> trimesh.Trimesh:
    """A slab, a post on one corner and an arm: no rotation leaves it as it is."""
    parts = [
        ((1.2, 0.6, 0.2), (0, 0, 0)),
        ((0.2, 0.2, 0.8), (0.5, 0.2, 0.5)),
        ((0.2, 0.5, 0.1), (0.5, -0.1, 0.85)),
    ]
    joined = trimesh.util.concatenate(
        [trimesh.creation.box(size, trimesh.transformations.translation_matrix(at)) for size, at in parts]
    )
    assert isinstance(joined, trimesh.Trimesh)
    return joined


def _samples(truth: Similarity) -> tuple[Points, Points, float]:
    """Independent samples of the object moved back by `truth` and of the object, and their noise.

    On a surface with `density` points a unit of area the nearest point is 1 / (2 sqrt(density)) away.
    """
    mesh = _object()
    model = truth.inverse(sample_surface(mesh, 4000, 0, "model"))
    return model, sample_surface(mesh, 4000, 0, "truth"), 0.5 * math.sqrt(mesh.area / COMPARED_POINTS)


def _degrees(a: Points, b: Points) -> float:
    return math.degrees(Rotation.from_matrix(a @ b.T).magnitude())


def _move(scale: float, *euler: float) -> Similarity:
    return Similarity(scale, Rotation.from_euler("zyx", euler, degrees=True).as_matrix(), SHIFT)


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))
CASES = {
    "none": IDENTITY,
    "scale_centre": _move(0.7, 0, 0, 0),
    "yaw": _move(0.7, 130, 0, 0),
    "rotation_icp": _move(0.7, 130, 50, -70),
}


@pytest.mark.parametrize("rung", RUNGS)
def test_a_known_similarity_is_found_at_its_rung_and_not_below(rung: str) -> None:
    model, truth, noise = _samples(CASES[rung])
    fits = ladder(model, truth)
    for index, name in enumerate(RUNGS):
        if index < RUNGS.index(rung):
            assert fits[name].residual > 2 * noise, name
        else:
            assert 0.8 * noise < fits[name].residual < 1.3 * noise, name
    found = fits[rung].transform
    assert found.scale == pytest.approx(CASES[rung].scale, rel=0.03)
    assert _degrees(found.rotation, CASES[rung].rotation) < 2
    assert np.abs(found(model) - CASES[rung](model)).max() < 0.05


@pytest.mark.parametrize("angles", [(17, 80, 10), (200, -35, 160), (300, 20, -120), (75, 0, 180)])
def test_general_rotations_are_found(angles: tuple[int, int, int]) -> None:
    move = _move(1.4, *angles)
    model, truth, noise = _samples(move)
    fit = ladder(model, truth, ["rotation_icp"])["rotation_icp"]
    assert fit.residual < 1.3 * noise
    assert _degrees(fit.transform.rotation, move.rotation) < 2


def test_residuals_never_grow_and_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.1, 0.5, 1.0):
        model = rng.standard_normal((300, 3)) * [spread, 0.3, 0.2] + 0.1
        truth = rng.standard_normal((250, 3)) * [0.2, 0.4, spread]
        fits = ladder(model, truth)
        residuals = [fits[rung].residual for rung in RUNGS]
        assert residuals == sorted(residuals, reverse=True)
        for fit in fits.values():
            gaps = np.linalg.norm(fit.transform(model)[:, None] - truth, axis=2)
            assert fit.residual == pytest.approx((gaps.min(1).mean() + gaps.min(0).mean()) / 2, rel=1e-9)


def test_equal_points_stay_where_they_are() -> None:
    points = _samples(IDENTITY)[1]
    for fit in ladder(points, points).values():
        assert fit.residual == 0
        assert np.array_equal(fit.transform(points), points)


def test_asked_rungs_only_in_their_order_and_alike_whoever_asks() -> None:
    model, truth, _ = _samples(CASES["yaw"])
    every, some = ladder(model, truth), ladder(model, truth, ["yaw", "none"])
    assert list(some) == ["yaw", "none"]
    for rung in some:
        assert some[rung].residual == every[rung].residual
        assert np.array_equal(some[rung].transform.matrix, every[rung].transform.matrix)


def test_unknown_rungs_and_empty_sets_are_refused() -> None:
    points = np.random.default_rng(0).standard_normal((9, 3))
    with pytest.raises(ValueError, match="sideways"):
        ladder(points, points, ["none", "sideways"])
    for model, truth in ((points[:0], points), (points, points[:0])):
        with pytest.raises(ValueError, match="no points"):
            ladder(model, truth)


def test_a_single_point_has_no_size_and_keeps_its_scale() -> None:
    truth = np.random.default_rng(0).standard_normal((50, 3))
    fits = ladder(np.zeros((1, 3)), truth)
    assert fits["scale_centre"].transform.scale == 1
    assert all(np.isfinite(fit.residual) for fit in fits.values())


def test_umeyama_is_exact_on_matched_points() -> None:
    points = np.random.default_rng(1).standard_normal((40, 3))
    move = _move(0.7, 130, 50, -70)
    found = umeyama(points, move(points))
    assert found.scale == pytest.approx(0.7, rel=1e-12)
    assert np.allclose(found.rotation, move.rotation, atol=1e-12)
    assert np.allclose(found.translation, SHIFT, atol=1e-12)
    rigid = umeyama(points, move(points), with_scale=False)
    assert rigid.scale == 1
    assert np.allclose(rigid.rotation, move.rotation, atol=1e-12)


def test_umeyama_never_reflects() -> None:
    points = np.random.default_rng(2).standard_normal((40, 3)) * [3.0, 2.0, 0.5]
    points -= points.mean(0)
    found = umeyama(points, points * [1, 1, -1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    # Umeyama's scale: trace(D S) / variance, the mirrored axis being the one with the least spread
    values = np.linalg.svd(points.T @ (points * [1, 1, -1]))[1]
    assert found.scale == pytest.approx((values[0] + values[1] - values[2]) / (points**2).sum(), rel=1e-12)
    flat = points * [1, 1, 0]  # a plane's mirror image is also its turn
    turned = umeyama(flat, flat * [-1, 1, 1])
    assert np.linalg.det(turned.rotation) == pytest.approx(1)
    assert np.allclose(turned(flat), flat * [-1, 1, 1], atol=1e-12)


def test_similarities_compose_and_invert() -> None:
    points = np.random.default_rng(3).standard_normal((5, 3))
    a, b = _move(0.7, 10, 20, 30), Similarity(2.0, _move(1, 80, -40, 5).rotation, np.ones(3))
    assert np.allclose(b.after(a)(points), b(a(points)))
    assert np.allclose(a.inverse(a(points)), points)
    homogeneous = np.concatenate([points, np.ones((5, 1))], 1)
    assert np.allclose((homogeneous @ a.matrix.T)[:, :3], a(points))


def test_the_grid_of_rotations_leaves_no_gap() -> None:
    grid = Rotation.from_matrix(rotation_grid(576))
    assert np.allclose(np.linalg.det(grid.as_matrix()), 1)
    asked = Rotation.random(2000, random_state=0).as_quat()
    gaps = np.degrees(2 * np.arccos(np.abs(asked @ grid.as_quat().T).max(1).clip(0, 1)))
    assert gaps.max() < 26


def test_twice_is_the_same_to_the_bit() -> None:
    model, truth, _ = _samples(CASES["rotation_icp"])
    first, second = ladder(model, truth), ladder(model.copy(), truth.copy())
    for rung in RUNGS:
        assert first[rung].residual == second[rung].residual
        assert np.array_equal(first[rung].transform.matrix, second[rung].transform.matrix)
