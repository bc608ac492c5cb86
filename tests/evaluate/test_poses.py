"""Cameras of predictions: every convention reads as the same poses; poses are found, or named as missing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aligncvc.errors import UserError
from aligncvc.evaluate.poses import CONVENTIONS, TOLERANCE_DEG, distances, match_poses, read_cameras
from aligncvc.scene.camera_formats import to_gobjaverse, to_lgm, to_opengl, to_pytorch3d, to_wonder3d
from aligncvc.scene.cameras import CONVENTION, Cameras, orbit, save_cameras

AZIMUTHS = [0, 90, 180, 270]
RIG = orbit(AZIMUTHS, 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)


def turned(cameras: Cameras, index: int, degrees: float) -> Cameras:
    """One camera rolled about its optical axis."""
    angle, roll = math.radians(degrees), torch.eye(4)
    roll[0, 0] = roll[1, 1] = math.cos(angle)
    roll[0, 1], roll[1, 0] = -math.sin(angle), math.sin(angle)
    c2w = cameras.c2w.clone()
    c2w[index] = c2w[index] @ roll
    return replace(cameras, c2w=c2w)


def described(convention: str, cameras: Cameras) -> dict[str, Any]:
    facts: dict[str, Any] = {"convention": convention, "width": 64, "height": 64, "fov_y_deg": 39.6}
    c2w = cameras.c2w.double()
    if convention == "gobjaverse":
        facts.pop("fov_y_deg")
        return facts | {"views": to_gobjaverse(cameras)}
    if convention == "pytorch3d":
        rotation, translation = to_pytorch3d(c2w)
        return facts | {"R": rotation.tolist(), "T": translation.tolist()}
    if convention == "wonder3d":
        return facts | {"w2c": to_wonder3d(c2w).tolist()}
    convert = {CONVENTION: lambda x: x, "opengl": to_opengl, "lgm": to_lgm}[convention]
    return facts | {"c2w": convert(c2w).tolist()}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_reads_as_the_same_poses(convention: str, tmp_path: Path) -> None:
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(described(convention, RIG)))
    found = read_cameras(path)
    assert torch.allclose(found.c2w, RIG.c2w, atol=1e-6)
    assert (found.width, found.height) == (64, 64)
    assert found.fov_y_deg == pytest.approx(39.6, abs=1e-6)
    assert match_poses(found, RIG, "pred") == [0, 1, 2, 3]


def test_the_projects_own_file_reads(tmp_path: Path) -> None:
    save_cameras(tmp_path / "cameras.json", RIG, rigs={"rig": [0]})
    assert torch.equal(read_cameras(tmp_path / "cameras.json").c2w, RIG.c2w)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"convention": "blender2"}, "'blender2', which is not known; use one of opencv-c2w-zup, opengl"),
        ({"c2w": [[1, 2], [3, 4]]}, "c2w has shape"),
        ({"c2w": []}, "c2w has shape"),
        ({"fov_y_deg": 0}, "fov_y_deg 0"),
        ({"width": None}, "cameras.json"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(described("opengl", RIG) | change))
    with pytest.raises(UserError, match=r"cameras\.json") as caught:
        read_cameras(path)
    assert words in str(caught.value)


def test_distances_in_closed_form() -> None:
    degrees, centres = distances(turned(RIG, 2, 5.0), RIG)
    assert degrees.diagonal().tolist() == pytest.approx([0, 0, 5, 0], abs=1e-4)
    radius = 3 * math.cos(math.radians(10))
    assert centres[0].tolist() == pytest.approx(
        [0, math.sqrt(2) * radius, 2 * radius, math.sqrt(2) * radius], abs=1e-5
    )


def test_poses_are_found_in_any_order_among_others() -> None:
    more = orbit([45, 270, 180, 10, 90, 0], 10.0, distance=3.0, fov_y_deg=39.6, size_px=128)
    assert match_poses(more, RIG, "pred") == [5, 4, 2, 1]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_tolerance_is_the_stated_one(factor: float) -> None:
    cameras = turned(RIG, 1, factor * TOLERANCE_DEG)
    if factor < 1:
        assert match_poses(cameras, RIG, "pred") == [0, 1, 2, 3]
    else:
        with pytest.raises(UserError, match="1 of the protocol's 4 poses"):
            match_poses(cameras, RIG, "pred")


def test_every_unmatched_pose_is_listed_once() -> None:
    away = orbit([0, 90, 183, 265], 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)
    with pytest.raises(UserError) as caught:
        match_poses(away, RIG, "pred/x/cup")
    message = str(caught.value)
    assert "pred/x/cup has no image within" in message
    assert "2 of the protocol's 4 poses" in message
    assert "azimuth 180, elevation 10, distance 3 (nearest: 002.png, 3.00 degrees" in message
    assert "azimuth 270" in message
    assert "azimuth 90" not in message


def test_another_field_of_view_is_another_image() -> None:
    with pytest.raises(UserError, match=r"field of view of 49.1 degrees and the protocol one of 39.6"):
        match_poses(replace(RIG, fov_y_deg=49.1), RIG, "pred")
