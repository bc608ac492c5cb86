"""Occupancy against volumes in closed form. Cells of 0.05 divide the boxes' sides, so counts are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh

from aligncvc.metrics.surface_distance import occupancy

GRID = 40
CELL = 2 / GRID


def _box(side: float, centre: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.box((side, side, side))
    mesh.apply_translation(centre)
    return mesh


def _joined(*parts: trimesh.Trimesh) -> trimesh.Trimesh:
    joined = trimesh.util.concatenate(parts)
    assert isinstance(joined, trimesh.Trimesh)
    return joined


def _iou(a: trimesh.Trimesh, b: trimesh.Trimesh) -> float:
    left, right = occupancy(a, GRID), occupancy(b, GRID)
    return float((left & right).sum() / (left | right).sum())


@pytest.mark.parametrize("side", [0.2, 0.8, 1.8])
def test_a_cube_fills_its_cells(side: float) -> None:
    assert occupancy(_box(side), GRID).sum() == round(side / CELL) ** 3


@pytest.mark.parametrize("radius", [0.4, 0.7, 0.95])
def test_a_sphere_has_its_volume(radius: float) -> None:
    inside = occupancy(trimesh.creation.icosphere(4, radius), 64)
    assert inside.sum() * (2 / 64) ** 3 == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)


def test_axes_are_x_y_z() -> None:
    mesh = trimesh.creation.box((0.2, 0.4, 0.6))
    mesh.apply_translation((0.5, -0.3, 0.1))
    lowest, highest = (edge(np.argwhere(occupancy(mesh, GRID)), 0) for edge in (np.min, np.max))
    assert np.allclose(lowest * CELL - 1, mesh.bounds[0])
    assert np.allclose((highest + 1) * CELL - 1, mesh.bounds[1])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5, 0.8])
def test_iou_of_shifted_cubes(axis: int, shift: float) -> None:
    side, centre = 0.8, [0.0, 0.0, 0.0]
    centre[axis] = shift
    expected = (side - shift) / (side + shift)
    assert _iou(_box(side), _box(side, (centre[0], centre[1], centre[2]))) == pytest.approx(
        expected, abs=1e-12
    )


def test_overlapping_parts_count_once() -> None:
    both = _joined(_box(0.8), _box(0.8, (0.4, 0, 0)))
    assert occupancy(both, GRID).sum() == 24 * 16 * 16


def test_a_cavity_is_outside() -> None:
    inner = _box(0.4)
    inner.invert()
    assert occupancy(_joined(_box(0.8), inner), GRID).sum() == 16**3 - 8**3


def test_winding_of_the_whole_mesh_is_of_no_matter() -> None:
    mesh = trimesh.creation.icosphere(3, 0.6)
    flipped = mesh.copy()
    flipped.invert()
    assert np.array_equal(occupancy(mesh, GRID), occupancy(flipped, GRID))


def test_what_reaches_beyond_the_grid_is_cut() -> None:
    inside = occupancy(_box(0.8, (0.9, 0.9, 0.9)), GRID)
    assert inside.sum() == 10**3
    assert inside[30:, 30:, 30:].all()
    assert occupancy(_box(4.0), GRID).all()
    assert not occupancy(_box(0.4, (0, 0, 3)), GRID).any()
    assert not occupancy(_box(0.4, (3, 0, 0)), GRID).any()


def test_twice_is_the_same_to_the_bit() -> None:
    mesh = trimesh.creation.torus(0.6, 0.2)
    assert np.array_equal(occupancy(mesh, GRID), occupancy(mesh.copy(), GRID))
