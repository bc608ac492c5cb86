"""A tenth of the triangles: what stays as it was, on a ball and on what a reconstructor makes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import trimesh
from trimesh.visual import ColorVisuals

from aligncvc.meshes import draw_mesh, mesh_from_gaussians
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians

pytest.importorskip("fast_simplification", reason="fast-simplification is not installed (make env)")

from aligncvc.meshes.decimate import SHARE, decimated


@functools.cache
def rough() -> trimesh.Trimesh:
    """The surface of faint Gaussians strewn about a sphere, as rough as the demo's; place is colour."""
    random = torch.Generator().manual_seed(0)
    count = 12_000
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    radius = 0.6 + 0.05 * torch.randn(count, 1, generator=random)
    mesh = mesh_from_gaussians(
        Gaussians(
            direction * radius,
            torch.full((count, 3), 0.015),
            torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous(),
            torch.rand(count, generator=random) * 0.6 + 0.2,
            direction * 0.4 + 0.5,
        )
    )
    assert mesh is not None
    return mesh


def faces_by_edge(mesh: trimesh.Trimesh) -> set[int]:
    """How many faces edges have."""
    _, counts = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    return set(counts.tolist())


def test_a_tenth_of_the_faces_looks_the_same() -> None:
    small = decimated(rough())
    assert 0.08 * len(rough().faces) < len(small.faces) <= SHARE * len(rough().faces)
    views = orbit([0, 130, 250], [20, 20, -20], distance=3, fov_y_deg=39.6, size_px=128)
    before, after = (draw_mesh(mesh, views) for mesh in (rough(), small))
    psnr = -10 * float(torch.log10((before.rgb - after.rgb).square().mean()))
    solid = before.alpha > 0.5, after.alpha > 0.5
    assert psnr > 28
    assert int((solid[0] & solid[1]).sum()) / int((solid[0] | solid[1]).sum()) > 0.96


def test_a_closed_surface_stays_closed_and_keeps_its_volume() -> None:
    small = decimated(rough())
    assert rough().is_watertight and small.is_watertight and small.is_winding_consistent
    assert small.volume == pytest.approx(rough().volume, rel=0.05)
    assert faces_by_edge(small) == {2}
    # programs that merge vertices at one place find the same surface
    points = {tuple(place) for place in small.vertices.round(7).tolist()}
    assert len(points) == len(small.vertices)


def test_what_touches_itself_is_taken_apart() -> None:
    """fast-simplification alone leaves edges with four faces here."""
    import fast_simplification

    points, faces = fast_simplification.simplify(
        np.asarray(rough().vertices, np.float64), rough().faces, target_count=len(rough().faces) // 10, agg=5
    )
    assert max(faces_by_edge(trimesh.Trimesh(points, faces, process=False))) > 2


def test_two_cubes_on_one_edge_get_edges_of_their_own() -> None:
    """Both stay whole: what is inside of one is not joined with the other."""
    one, other = (trimesh.creation.box((1, 1, 1)) for _ in range(2))
    other.apply_translation([1, 1, 0])
    both = trimesh.util.concatenate([one, other])
    assert isinstance(both, trimesh.Trimesh)
    both.merge_vertices()
    assert not both.is_watertight
    apart = decimated(both, 1.0)
    assert apart.is_watertight and apart.body_count == 2
    assert apart.volume == pytest.approx(2, rel=0.01)


def test_colours_stay_where_they_were() -> None:
    small = decimated(rough())
    assert isinstance(small.visual, ColorVisuals)
    direction = small.vertices / np.linalg.norm(small.vertices, axis=1, keepdims=True)
    found = np.asarray(small.visual.vertex_colors)[:, :3] / 255
    assert np.abs(found - (direction * 0.4 + 0.5)).mean() < 0.03


def test_same_mesh_same_bytes() -> None:
    one, other = decimated(rough()), decimated(rough())
    assert one.vertices.tobytes() == other.vertices.tobytes() and one.faces.tobytes() == other.faces.tobytes()


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        decimated(rough(), share)
