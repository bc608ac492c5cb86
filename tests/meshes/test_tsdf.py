"""Surfaces from Gaussians: a ball of small opaque ones has a known radius, volume and colour."""

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
from aligncvc.splat import rasterise

RADIUS, VOXEL, SCALE = 0.5, 0.05, 0.015


def shell(
    radius: float = RADIUS, count: int = 4000, centre: tuple[float, ...] = (0, 0, 0), opacity: float = 0.95
) -> Gaussians:
    """Small Gaussians spread evenly over a sphere (Fibonacci's spiral), red where x > centre, else green."""
    index = torch.arange(count) + 0.5
    z, turn = 1 - 2 * index / count, index * torch.pi * (3 - 5**0.5)
    flat = (1 - z**2).sqrt()
    normals = torch.stack([flat * turn.cos(), flat * turn.sin(), z], -1)
    right = (normals[:, 0] > 0).float()
    return Gaussians(
        radius * normals + torch.tensor(centre),
        torch.full((count, 3), SCALE),
        torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous(),
        torch.full((count,), opacity),
        torch.stack([0.9 * right + 0.1, 0.9 - 0.8 * right, torch.full_like(right, 0.2)], -1),
    )


def colours_of(mesh: trimesh.Trimesh) -> np.ndarray:
    """(N, 4) vertex colours, 8 bits."""
    assert isinstance(mesh.visual, ColorVisuals)
    return np.asarray(mesh.visual.vertex_colors)


def together(first: Gaussians, second: Gaussians) -> Gaussians:
    parts = ("means", "scales", "quats", "opacities", "colors")
    return Gaussians(*(torch.cat([getattr(first, p), getattr(second, p)]) for p in parts))


@functools.cache
def ball() -> trimesh.Trimesh:
    mesh = mesh_from_gaussians(shell(), voxel=VOXEL)
    assert mesh is not None
    return mesh


def test_ball_has_the_radius_of_its_gaussians() -> None:
    radii = np.linalg.norm(ball().vertices, axis=1)
    assert abs(radii.mean() - RADIUS) < VOXEL / 2
    assert np.abs(radii - RADIUS).max() < VOXEL


def test_ball_is_closed_filled_and_faces_outwards() -> None:
    mesh = ball()
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.15)  # negative if turned inside out
    assert (np.einsum("fi,fi->f", mesh.face_normals, mesh.triangles_center) > 0).mean() > 0.99


def test_colours_are_those_of_the_nearest_gaussians() -> None:
    mesh = ball()
    colours = colours_of(mesh)[:, :3] / 255
    right = mesh.vertices[:, 0] > 2 * VOXEL
    left = mesh.vertices[:, 0] < -2 * VOXEL
    np.testing.assert_allclose(colours[right].mean(0), [1.0, 0.1, 0.2], atol=0.02)
    np.testing.assert_allclose(colours[left].mean(0), [0.1, 0.9, 0.2], atol=0.02)


def cloud(count: int = 12_000) -> Gaussians:
    """What reconstructors make: faint Gaussians strewn about a sphere; views disagree on its depth."""
    rng = np.random.default_rng(0)
    ball = shell(RADIUS, count)
    shift = torch.from_numpy(rng.normal(1, 0.12, (count, 1))).float()
    opacity = torch.from_numpy(rng.uniform(0.0, 0.3, count)).float()
    return Gaussians(ball.means * shift, ball.scales, ball.quats, opacity, ball.colors)


@pytest.mark.parametrize(
    ("gaussians", "overlap", "offset"), [(shell(), 0.9, 0.03), (cloud(), 0.65, 0.1)], ids=["shell", "cloud"]
)
def test_the_surface_is_where_the_gaussians_are_drawn(
    gaussians: Gaussians, overlap: float, offset: float
) -> None:
    """If the deepest few views decided, 0.58 of the cloud's silhouette would be carved away."""
    mesh = mesh_from_gaussians(gaussians)
    assert mesh is not None
    views = orbit([10, 130, 250], [0, 30, -40], distance=3, fov_y_deg=39.6, size_px=128)
    drawn, surface = rasterise(gaussians, views), draw_mesh(mesh, views)
    solid, covered = drawn.alpha > 0.5, surface.alpha > 0.5
    shared = int((solid & covered).sum()) / int((solid | covered).sum())
    assert shared > overlap
    both = solid & covered & (surface.depth > 0)
    error = (surface.depth - drawn.depth / drawn.alpha.clamp_min(0.5))[both]
    assert abs(float(error.mean())) < offset


def test_place_follows_the_gaussians() -> None:
    mesh = mesh_from_gaussians(shell(0.3, 1500, (0.4, -0.2, 0.3)), voxel=VOXEL)
    assert mesh is not None
    np.testing.assert_allclose(mesh.bounds.mean(0), [0.4, -0.2, 0.3], atol=VOXEL / 2)


def test_specks_are_dropped_and_second_bodies_kept() -> None:
    speck = mesh_from_gaussians(together(shell(), shell(0.02, 30, (0.8, 0, 0))), voxel=VOXEL)
    body = mesh_from_gaussians(
        together(shell(0.3, 1500, (-0.5, 0, 0)), shell(0.2, 700, (0.5, 0, 0))), voxel=VOXEL
    )
    assert speck is not None and speck.body_count == 1 and speck.bounds[1, 0] < 0.6
    assert body is not None and body.body_count == 2


@pytest.mark.parametrize("gaussians", [shell(opacity=0.002), shell(count=0), shell(0.5, 40, opacity=0.05)])
def test_nothing_opaque_gives_no_mesh(gaussians: Gaussians) -> None:
    assert mesh_from_gaussians(gaussians, voxel=VOXEL) is None


@pytest.mark.parametrize("voxel", [0.0, -0.1, 0.6])
def test_voxel_out_of_range(voxel: float) -> None:
    with pytest.raises(ValueError, match="voxel"):
        mesh_from_gaussians(shell(count=10), voxel=voxel)


def test_same_gaussians_same_mesh() -> None:
    again = mesh_from_gaussians(shell(), voxel=VOXEL)
    assert again is not None
    assert again.vertices.tobytes() == ball().vertices.tobytes()
    assert colours_of(again).tobytes() == colours_of(ball()).tobytes()


def test_what_no_view_sees_has_a_neighbours_colour() -> None:
    """A bright cloud has folds that no camera looks into: they were black."""
    mesh = mesh_from_gaussians(cloud())
    assert mesh is not None
    assert colours_of(mesh)[:, :3].max(1).min() > 100
