"""Converters: round trips, a second implementation by scipy, one pixel for one point in all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from aligncvc.errors import UserError
from aligncvc.scene import camera_formats as formats
from aligncvc.scene.cameras import Cameras, orbit

SIZE, FOV = 64, 39.6
FOCAL = 0.5 * SIZE / math.tan(math.radians(FOV) / 2)


def poses(seed: int, count: int = 3) -> tuple[Rotation, np.ndarray, torch.Tensor]:
    """Random rigid poses: scipy rotations, positions (count, 3), c2w (count, 4, 4) float64."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(count, random_state=seed % 2**32)
    position = rng.uniform(-3, 3, (count, 3))
    c2w = np.tile(np.eye(4), (count, 1, 1))
    c2w[:, :3, :3], c2w[:, :3, 3] = rotation.as_matrix(), position
    return rotation, position, torch.from_numpy(c2w)


seeds = st.integers(0, 2**31)


@settings(deadline=None)
@given(seeds)
def test_round_trips(seed: int) -> None:
    _, _, c2w = poses(seed)
    for back in (
        formats.from_opengl(formats.to_opengl(c2w)),
        formats.from_pytorch3d(*formats.to_pytorch3d(c2w)),
        formats.from_lgm(formats.to_lgm(c2w)),
        formats.from_imagedream(formats.to_imagedream(c2w)),
        formats.from_wonder3d(formats.to_wonder3d(c2w)),
        formats.invert_rigid(formats.invert_rigid(c2w)),
    ):
        torch.testing.assert_close(back, c2w, atol=1e-12, rtol=0)


OUROBOROS3D_AZIMUTHS = (0, 45, 90, 135, 180, 225, 270, 337.5)
OUROBOROS3D_C2W = {
    1: [[0.70710678, 0, -0.70710678, 1.2315656], [0, -1, 0, 0], [-0.70710678, 0, -0.70710678, 1.2315656]],
    2: [[0, 0, -1, 1.7416968], [0, -1, 0, 0], [-1, 0, 0, 0]],
    7: [[0.9238796, 0, 0.3826831, -0.6665186], [0, -1, 0, 0], [0.3826831, 0, -0.9238796, 1.6091182]],
}
"""Views of github Costwen/Ouroboros3D's hyper/c2w.npy, rounded; the others are turned in the same way."""


def test_first_camera_is_ouroboros3ds_rig() -> None:
    ours = orbit(OUROBOROS3D_AZIMUTHS, 0, distance=3, fov_y_deg=FOV, size_px=SIZE).c2w
    found = formats.to_first_camera(ours, 1.7416968)
    for view, rows in OUROBOROS3D_C2W.items():
        torch.testing.assert_close(found[view, :3], torch.tensor(rows), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0].diagonal(), torch.tensor([1.0, -1, -1, 1]))


@settings(deadline=None)
@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(0.5, 5))
def test_first_camera_round_trip(first: float, second: float, distance: float) -> None:
    ours = orbit([0, 70], [first, second], distance=2.5, fov_y_deg=FOV, size_px=SIZE).c2w.double()
    there = formats.to_first_camera(ours[None], distance)
    facing = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, distance], [0, 0, 0, 1]])
    torch.testing.assert_close(there[0, 0], facing.double(), atol=1e-6, rtol=0)
    back = formats.from_first_camera(there, ours[None, 0])
    torch.testing.assert_close(back[0], ours, atol=1e-6, rtol=0)


@settings(deadline=None)
@given(seeds)
def test_scipy_agrees(seed: int) -> None:
    """The same conversions written as compositions of rotations about axes."""
    rotation, position, c2w = poses(seed)
    half_turn_x = Rotation.from_euler("x", 180, degrees=True)
    half_turn_z = Rotation.from_euler("z", 180, degrees=True)
    z_to_y_up = Rotation.from_euler("x", -90, degrees=True)

    opengl = rotation * half_turn_x
    np.testing.assert_allclose(formats.to_opengl(c2w)[:, :3, :3], opengl.as_matrix(), atol=1e-12)

    lgm = formats.to_lgm(c2w)
    np.testing.assert_allclose(lgm[:, :3, :3], (z_to_y_up * opengl).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(lgm[:, :3, 3], z_to_y_up.apply(position), atol=1e-12)

    imagedream, front_to_x = formats.to_imagedream(c2w), Rotation.from_euler("z", 90, degrees=True)
    np.testing.assert_allclose(imagedream[:, :3, :3], (front_to_x * opengl).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(imagedream[:, :3, 3], front_to_x.apply(position), atol=1e-12)

    wonder3d = formats.to_wonder3d(c2w)
    np.testing.assert_allclose(wonder3d[:, :, :3], opengl.inv().as_matrix(), atol=1e-12)
    np.testing.assert_allclose(wonder3d[:, :, 3], -opengl.inv().apply(position), atol=1e-12)

    matrix, translation = formats.to_pytorch3d(c2w)
    view_to_world = rotation * half_turn_z  # x left, y up, z forward
    np.testing.assert_allclose(matrix, view_to_world.as_matrix(), atol=1e-12)  # R is w2v transposed
    np.testing.assert_allclose(translation, -view_to_world.inv().apply(position), atol=1e-12)


@settings(deadline=None)
@given(st.floats(0, 360), st.floats(-80, 80), st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=3))
def test_one_point_one_pixel(azimuth: float, elevation: float, point: list[float]) -> None:
    """Each convention's own projection formula puts a world point on the same pixel."""
    cameras = orbit([azimuth], elevation, distance=3.0, fov_y_deg=FOV, size_px=SIZE)
    c2w = cameras.c2w[0].double()
    world = torch.tensor([*point, 1.0], dtype=torch.float64)

    x, y, z, _ = torch.linalg.inv(c2w) @ world
    pixel = [SIZE / 2 + FOCAL * x / z, SIZE / 2 + FOCAL * y / z]

    def opengl_pixel(camera: torch.Tensor) -> list[torch.Tensor]:
        x, y, z = camera[:3]
        return [SIZE / 2 + FOCAL * x / -z, SIZE / 2 - FOCAL * y / -z]

    # In LGM's world our point (x, y, z) lies at (x, z, -y).
    lgm_world = torch.stack([world[0], world[2], -world[1], world[3]])
    found = {
        "opengl": opengl_pixel(torch.linalg.inv(formats.to_opengl(c2w)) @ world),
        "wonder3d": opengl_pixel(formats.to_wonder3d(c2w) @ world),
        "lgm": opengl_pixel(torch.linalg.inv(formats.to_lgm(c2w)) @ lgm_world),
    }
    rotation, translation = formats.to_pytorch3d(c2w)
    view = world[:3] @ rotation + translation
    found["pytorch3d"] = [SIZE / 2 - FOCAL * view[0] / view[2], SIZE / 2 - FOCAL * view[1] / view[2]]
    for name, (u, v) in found.items():
        assert float(u) == pytest.approx(float(pixel[0]), abs=1e-3), name
        assert float(v) == pytest.approx(float(pixel[1]), abs=1e-3), name


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (90, 0), (33, 20), (250, -15)])
def test_lgm_orbit(azimuth: float, elevation: float) -> None:
    """kiui's orbit: azimuth from +z to +x, elevation negated, looking at the origin with y up."""
    c2w = formats.to_lgm(orbit([azimuth], elevation, distance=1.5, fov_y_deg=49.1, size_px=SIZE).c2w)[0]
    a, e = math.radians(azimuth), math.radians(-elevation)
    expected = 1.5 * torch.tensor([math.cos(e) * math.sin(a), -math.sin(e), math.cos(e) * math.cos(a)])
    torch.testing.assert_close(c2w[:3, 3], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(c2w[:3, 2], expected / 1.5, atol=1e-6, rtol=0)  # z points away from the object
    assert float(c2w[1, 0]) == pytest.approx(0, abs=1e-6) and float(c2w[1, 1]) > 0  # upright


def test_wonder3d_front_pose() -> None:
    """Wonder3D's front camera stands on -y: right is x, up is z, the object 1.3 ahead along -z."""
    front = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, -1.3]])
    ours = orbit([0.0], 0.0, distance=1.3, fov_y_deg=FOV, size_px=SIZE).c2w[0]
    torch.testing.assert_close(formats.from_wonder3d(front), ours, atol=1e-6, rtol=0)


def test_gobjaverse_round_trip() -> None:
    cameras = orbit([0, 15, 200], [5, 5, 30], distance=1.7, fov_y_deg=FOV, size_px=SIZE)
    views = formats.to_gobjaverse(cameras)
    assert views[0]["origin"] == pytest.approx(cameras.positions[0].tolist())
    assert views[0]["x_fov"] == pytest.approx(math.radians(FOV))
    back = formats.from_gobjaverse(views, SIZE, SIZE)
    torch.testing.assert_close(back.c2w, cameras.c2w)
    assert back.fov_y_deg == pytest.approx(FOV)


def test_gobjaverse_wide_image_keeps_square_pixels() -> None:
    square = orbit([0], 0, distance=2, fov_y_deg=FOV, size_px=SIZE)
    wide = Cameras(square.c2w, FOV, 2 * SIZE, SIZE)
    back = formats.from_gobjaverse(formats.to_gobjaverse(wide), 2 * SIZE, SIZE)
    assert back.fov_y_deg == pytest.approx(FOV) and back.focal_px == pytest.approx(wide.focal_px)
    only_x = [{k: v for k, v in view.items() if k != "y_fov"} for view in formats.to_gobjaverse(wide)]
    assert formats.from_gobjaverse(only_x, 2 * SIZE, SIZE).fov_y_deg == pytest.approx(FOV)


def test_gobjaverse_says_what_is_wrong() -> None:
    view = formats.to_gobjaverse(orbit([0], 0, distance=2, fov_y_deg=FOV, size_px=SIZE))[0]
    with pytest.raises(UserError, match="origin"):
        formats.from_gobjaverse([{k: v for k, v in view.items() if k != "origin"}], SIZE, SIZE)
    with pytest.raises(UserError, match="field of view"):
        formats.from_gobjaverse([view, {**view, "y_fov": 1.0}], SIZE, SIZE)
    with pytest.raises(UserError, match="0 GObjaverse cameras"):
        formats.from_gobjaverse([], SIZE, SIZE)
