"""The pictures show the surface that results are measured against, or the object fails."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from render_scenes import box_glb, small_job, write_manifest
from still_glbs import (
    animated,
    coloured,
    instanced,
    morphed,
    quantised,
    skinned,
    turned_and_bent,
    two_scenes,
)

from aligncvc.meshes import draw_mesh, load_mesh
from aligncvc.render.run import render_set
from aligncvc.render.surface import surface_fault
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gltf import Gltf
from aligncvc.scene.views import Views, load_views, view_facts


@pytest.mark.blender
def test_moving_skinned_and_quantised_objects_are_drawn_as_they_are_measured(tmp_path: Path) -> None:
    """All fill the sphere, nothing is in the scene but they, and colours need no material."""
    glbs = {
        "skinned": skinned(), "bent": turned_and_bent(), "morphed": morphed(0.5), "quantised": quantised(),
        "scenes": two_scenes(), "animated": animated(), "coloured": coloured(), "twice": instanced(),
    }  # fmt: skip
    manifest = write_manifest(tmp_path / "objects", glbs)
    job = small_job(samples=2, elevation_deg=30.0)
    rows = {row.id: row for row in render_set(job, manifest, tmp_path / "out", workers=1)}
    assert rows.pop("twice").stage == "quality"
    assert all(row.ok for row in rows.values()), rows
    for name in rows:
        facts = view_facts(tmp_path / "out" / name)["normalisation"]
        points = load_mesh(tmp_path / f"objects/{name}.glb").vertices * facts["scale"] + facts["offset"]
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(points.max(0), -points.min(0), atol=1e-4)
    rgba = load_views(tmp_path / "out/coloured").rgba
    red, green, blue = rgba[:, :3].transpose(0, 1)[:, rgba[:, 3] > 0.99].mean(1).tolist()
    assert red > 0.4 > 0.2 > max(green, blue)
    with (tmp_path / "out/manifest.tsv").open() as handle:
        said = {row["id"]: row["reason"] for row in csv.DictReader(handle, delimiter="\t")}
    assert "than the pictures show; export it as one still mesh" in said["twice"]


@pytest.fixture
def seen(tmp_path: Path) -> tuple[Path, Views, dict[str, Any]]:
    """A box's GLB, what it looks like when it is stretched and turned, and how."""
    path = tmp_path / "box.glb"
    path.write_bytes(box_glb())
    mesh = load_mesh(path)
    stretched = mesh.vertices * [1.2, 0.9, 1.0]
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    scale = 1 / np.linalg.norm(stretched, axis=1).max()
    cameras = orbit([0, 45, 90, 135, 180, 225, 270, 315], 10.0, distance=3.3, fov_y_deg=39.6, size_px=64)
    moved = trimesh.Trimesh(scale * stretched @ turn.T, mesh.faces, process=False)
    alpha = draw_mesh(moved, cameras).alpha
    facts = {"scale": scale, "offset": [0.0, 0.0, 0.0], "stretch": [1.2, 0.9, 1.0], "heading_deg": 25.0}
    return path, Views(torch.cat([alpha] * 4, 1), cameras), facts


def test_equal_shapes_pass_and_others_do_not(seen: tuple[Path, Views, dict[str, Any]]) -> None:
    path, views, facts = seen
    assert surface_fault(path, views, facts, False) is None
    assert "agree by" in str(surface_fault(path, views, {**facts, "heading_deg": 115.0}, False))
    for wrong in ({"scale": facts["scale"] * 100}, {"offset": [0.0, 0.0, 0.1]}):
        assert "another size or place" in str(surface_fault(path, views, {**facts, **wrong}, False))
    assert "another size" in str(surface_fault(path, views, facts, True))  # as if it were in the cube
    shifted = replace(views, rgba=views.rgba.roll(6, -1))
    assert "agree by" in str(surface_fault(path, shifted, facts, False))
    near = replace(views, rgba=views.rgba.roll(1, -1))
    assert surface_fault(path, near, facts, False) is None


def test_only_transparent_surfaces_may_be_unseen(seen: tuple[Path, Views, dict[str, Any]]) -> None:
    path, views, facts = seen
    half = views.rgba.clone()
    half[..., :32] = 0
    half_seen = replace(views, rgba=half)
    assert surface_fault(path, half_seen, facts, False) is not None
    gltf = Gltf.read(path)
    gltf.document["materials"][0]["alphaMode"] = "MASK"
    path.write_bytes(gltf.to_bytes())
    assert surface_fault(path, half_seen, facts, False) is None
