"""The camera convention: where cameras stand, where they look, which pixel a point falls on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aligncvc.errors import UserError
from aligncvc.scene.cameras import (
    Cameras,
    load_cameras,
    look_at_origin,
    orbit,
    relative_c2w,
    ring_azimuths_deg,
    save_cameras,
    spherical_deg,
)

azimuths = st.floats(0, 359.9)
elevations = st.floats(-80, 80)
distances = st.floats(1.2, 5)


def one(azimuth: float, elevation: float, distance: float = 3.0) -> Cameras:
    return orbit([azimuth], elevation, distance=distance, fov_y_deg=39.6, size_px=64)


def project(cameras: Cameras, points: torch.Tensor) -> torch.Tensor:
    """(N, 3) world points -> (V, N, 2) pixels, with a general matrix inverse."""
    homogeneous = torch.cat([points, torch.ones(len(points), 1)], -1)
    camera = torch.linalg.inv(cameras.c2w) @ homogeneous.T
    pixels = cameras.intrinsics @ camera[:, :3]
    return (pixels[:, :2] / pixels[:, 2:]).transpose(-1, -2)


@settings(deadline=None)
@given(azimuths, elevations, distances)
def test_poses_are_rigid_and_look_at_the_origin(azimuth: float, elevation: float, distance: float) -> None:
    cameras = one(azimuth, elevation, distance)
    rotation = cameras.c2w[0, :3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(
        project(cameras, torch.zeros(1, 3))[0, 0], torch.tensor([32.0, 32.0]), atol=1e-3, rtol=0
    )
    above = project(cameras, torch.tensor([[0.0, 0.0, 0.1]]))[0, 0]
    assert above[1] < 32 and float(above[0]) == pytest.approx(
        32, abs=1e-2
    )  # up in the world is up in the image


@settings(deadline=None)
@given(azimuths, elevations, distances)
def test_angles_read_back(azimuth: float, elevation: float, distance: float) -> None:
    found = spherical_deg(one(azimuth, elevation, distance))
    turn = (float(found[0][0]) - azimuth + 180) % 360 - 180
    assert turn == pytest.approx(0, abs=0.02)
    assert float(found[1][0]) == pytest.approx(elevation, abs=0.02)
    assert float(found[2][0]) == pytest.approx(distance, abs=1e-4)


def test_the_drawing() -> None:
    """docs/cameras.svg: azimuth 0 on -y, 90 on +x; the input view sees +x on its right."""
    positions = orbit([0, 90, 180, 270], 0, distance=2, fov_y_deg=40, size_px=64).positions
    expected = torch.tensor([[0.0, -2, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0]])
    torch.testing.assert_close(positions, expected, atol=1e-6, rtol=0)
    assert project(one(0, 0), torch.tensor([[0.5, 0.0, 0.0]]))[0, 0, 0] > 32


@settings(deadline=None)
@given(azimuths, elevations, st.lists(st.floats(0, 360), min_size=1, max_size=4))
def test_relative_poses_put_the_reference_at_azimuth_0(
    azimuth: float, elevation: float, others: list[float]
) -> None:
    cameras = orbit([azimuth, *others], elevation, distance=3, fov_y_deg=39.6, size_px=64)
    relative = relative_c2w(cameras.c2w, cameras.c2w[0])
    expected = orbit([0, *(a - azimuth for a in others)], elevation, distance=3, fov_y_deg=39.6, size_px=64)
    torch.testing.assert_close(relative, expected.c2w, atol=2e-5, rtol=0)


def test_relative_poses_of_a_batch() -> None:
    batch = torch.stack(
        [orbit([a, a + 90], 10, distance=3, fov_y_deg=40, size_px=8).c2w for a in (0, 33, 270)]
    )
    relative = relative_c2w(batch, batch[:, 0])
    torch.testing.assert_close(relative[1], relative[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(relative[2], relative[0], atol=1e-5, rtol=0)


@settings(deadline=None)
@given(azimuths, elevations)
def test_rays_go_through_their_pixels(azimuth: float, elevation: float) -> None:
    cameras = one(azimuth, elevation).resized(12, 8)
    origins, directions = cameras.rays()
    assert origins.shape == directions.shape == (1, 3, 8, 12)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(1, 8, 12))
    points = (origins + 2.5 * directions)[0].reshape(3, -1).T
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(12) + 0.5, indexing="ij")
    torch.testing.assert_close(
        project(cameras, points)[0], torch.stack([x, y], -1).reshape(-1, 2), atol=2e-3, rtol=0
    )


def test_plucker_does_not_depend_on_the_point_of_the_ray() -> None:
    cameras = one(40, 15)
    plucker = cameras.plucker()
    origins, directions = cameras.rays()
    elsewhere = torch.cross(origins + 1.7 * directions, directions, dim=-3)
    torch.testing.assert_close(plucker[:, :3], elsewhere, atol=1e-5, rtol=0)
    torch.testing.assert_close(plucker[:, 3:], directions)


def test_w2c_is_the_inverse() -> None:
    cameras = orbit(ring_azimuths_deg(8), 25, distance=3, fov_y_deg=39.6, size_px=64)
    torch.testing.assert_close(cameras.w2c @ cameras.c2w, torch.eye(4).expand(8, 4, 4), atol=1e-6, rtol=0)


def test_ring_and_selection() -> None:
    assert ring_azimuths_deg(4, 315) == [315, 45, 135, 225]
    cameras = orbit(ring_azimuths_deg(8), 0, distance=3, fov_y_deg=39.6, size_px=64)
    assert len(cameras) == 8 and len(cameras[3]) == 1 and len(cameras[[0, 4]]) == 2 and len(cameras[::2]) == 4
    assert torch.equal(cameras[[4]].c2w, cameras[4].c2w)


def test_focal_length_keeps_the_vertical_field_of_view() -> None:
    cameras = one(0, 0)
    for width, height in ((64, 64), (128, 64), (64, 128)):
        resized = cameras.resized(width, height)
        assert math.degrees(2 * math.atan(height / 2 / resized.focal_px)) == pytest.approx(39.6)


@pytest.mark.parametrize("z", [2.0, -2.0])
def test_no_upright_above_the_object(z: float) -> None:
    with pytest.raises(UserError, match="elevation"):
        look_at_origin(torch.tensor([[0.0, 0.0, z]]))


def test_files(tmp_path: Path) -> None:
    cameras = orbit([0, 90], 10, distance=3, fov_y_deg=39.6, size_px=64)
    path = tmp_path / "cameras.json"
    save_cameras(path, cameras, object="chair")
    back = load_cameras(path)
    assert (
        torch.equal(back.c2w, cameras.c2w) and back.fov_y_deg == 39.6 and (back.near, back.far) == (1.5, 4.5)
    )
    data = json.loads(path.read_text())
    assert data["object"] == "chair"
    path.write_text(json.dumps({**data, "convention": "opengl-c2w"}))
    with pytest.raises(UserError, match="opengl-c2w"):
        load_cameras(path)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"readable cameras\.json"):
        load_cameras(path)
