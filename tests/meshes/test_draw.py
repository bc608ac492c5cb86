"""Drawn meshes against what a pinhole camera sees of spheres, planes and quads in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import MultiMaterial, PBRMaterial, SimpleMaterial

from aligncvc.meshes import draw_mesh
from aligncvc.scene.cameras import Cameras, orbit

DISTANCE, FOV, SIZE = 3.0, 40.0, 96
RED, GREEN, BLUE = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)


def camera(size: int = SIZE) -> Cameras:
    """At (0, -3, 0), looking along +y: image right is +x, image up is +z."""
    return orbit([0.0], 0.0, distance=DISTANCE, fov_y_deg=FOV, size_px=size)


def quad(half: float, y: float = 0.0, colour: tuple[int, ...] = RED) -> trimesh.Trimesh:
    """A square that faces the camera; corners in the order of their uv (0,0), (1,0), (1,1), (0,1)."""
    corners = [[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]]
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], vertex_colors=[colour] * 4, process=False)


def joined(meshes: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    whole = trimesh.util.concatenate(meshes)
    assert isinstance(whole, trimesh.Trimesh)
    return whole


def filling(depth: float) -> float:
    """Half the height that the image shows at a depth."""
    return depth * math.tan(math.radians(FOV / 2))


UV = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def checks() -> Image.Image:
    """Top row red, green; bottom row blue, white."""
    return Image.fromarray(np.array([[RED, GREEN], [BLUE, (255,) * 4]], np.uint8))


def quarters(mesh: trimesh.Trimesh) -> list[list[float]]:
    """Colours amid the image's quarters: top left, top right, bottom left, bottom right."""
    rgb = draw_mesh(mesh, camera()).rgb[0]
    near, far = SIZE // 8, SIZE - SIZE // 8
    return [rgb[:, row, column].round(decimals=3).tolist() for row in (near, far) for column in (near, far)]


def test_sphere_has_the_silhouette_and_nearest_depth_of_a_sphere() -> None:
    radius = 0.7
    ball = trimesh.creation.icosphere(5, radius)
    drawn = draw_mesh(ball, camera(), supersample=4)
    tangent = math.tan(math.asin(radius / DISTANCE))
    area = math.pi * (camera().focal_px * tangent) ** 2
    assert drawn.alpha.sum().item() == pytest.approx(area, rel=0.005)
    depth = drawn.depth[drawn.alpha == 1]
    assert depth.min().item() == pytest.approx(DISTANCE - radius, abs=2e-3)
    assert depth.max().item() < DISTANCE  # the back is hidden


def test_sphere_has_its_depth_at_every_pixel() -> None:
    radius = 0.7
    drawn = draw_mesh(trimesh.creation.icosphere(5, radius), camera(), supersample=1)
    _, directions = camera().rays()
    across = directions[0, 1]  # cosine between ray and axis, which is +y
    sine = (1 - across**2).sqrt()
    inside = DISTANCE * sine < 0.95 * radius
    expected = across * (DISTANCE * across - (radius**2 - (DISTANCE * sine) ** 2).clamp_min(0).sqrt())
    assert inside.sum() > 1000
    assert (drawn.depth[0, 0] - expected)[inside].abs().max() < 5e-3


def test_plane_is_at_its_distance_and_fills_the_image() -> None:
    drawn = draw_mesh(quad(filling(3.4) * 1.01, y=0.4), camera())
    assert drawn.depth.sub(3.4).abs().max() < 1e-5
    assert drawn.alpha.min() == 1
    assert drawn.rgb[0, :, 5, 9].tolist() == [1, 0, 0]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nearer_triangle_wins(order: tuple[int, int]) -> None:
    layers = [quad(0.8, 0.0, RED), quad(0.8, -0.5, BLUE)]
    drawn = draw_mesh(joined([layers[i] for i in order]), camera())
    assert drawn.rgb[0, :, SIZE // 2, SIZE // 2].tolist() == [0, 0, 1]
    assert drawn.depth[0, 0, SIZE // 2, SIZE // 2].item() == pytest.approx(2.5)


def test_both_sides_are_drawn() -> None:
    turned = quad(0.5)
    turned.invert()
    assert draw_mesh(turned, camera()).alpha.sum() == draw_mesh(quad(0.5), camera()).alpha.sum() > 0


@pytest.mark.parametrize("background", [0.0, 0.5, 1.0])
def test_background_shows_in_proportion_to_alpha(background: float) -> None:
    half_px = 20.5 / camera().focal_px * DISTANCE  # edges cut their pixels in half
    drawn = draw_mesh(quad(half_px), camera(), background)
    assert sorted(set(drawn.alpha.flatten().tolist())) == [0, 0.25, 0.5, 1]
    assert drawn.alpha.sum().item() == pytest.approx(41**2)
    expected = background * (1 - drawn.alpha[0, 0])
    assert (drawn.rgb[0, 1] - expected).abs().max() < 1e-6
    assert (drawn.rgb[0, 0] - expected - drawn.alpha[0, 0]).abs().max() < 1e-6
    assert (drawn.depth[0, 0] > 0).equal(drawn.alpha[0, 0] > 0)


def test_vertex_colours_blend_with_perspective() -> None:
    """A floor that recedes: half-way in space is nearer to the far edge in the image."""
    floor = trimesh.Trimesh(
        [[-9, -2, -0.5], [9, -2, -0.5], [9, 2, -0.5], [-9, 2, -0.5]],
        [[0, 1, 2], [0, 2, 3]],
        vertex_colors=[(0, 0, 0, 255)] * 2 + [(255, 255, 255, 255)] * 2,
        process=False,
    )
    size = 480
    far = Cameras(camera(size).c2w, FOV, size, size, near=0.5, far=10.0)
    drawn = draw_mesh(floor, far, 0.0, supersample=1)
    rows = np.array([size // 2 + 80, size // 2 + 100])
    depth = far.focal_px * 0.5 / (rows + 0.5 - size / 2)
    np.testing.assert_allclose(drawn.depth[0, 0, rows, size // 2], depth, rtol=1e-5)
    np.testing.assert_allclose(drawn.rgb[0, 0, rows, size // 2], (depth - 1) / 4, atol=1e-5)


def test_face_colours() -> None:
    mesh = quad(filling(DISTANCE) * 1.01)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=[RED, BLUE])
    rgb = draw_mesh(mesh, camera()).rgb[0]
    assert rgb[:, SIZE - 9, SIZE - 30].tolist() == [1, 0, 0]  # right below the diagonal
    assert rgb[:, 9, 30].tolist() == [0, 0, 1]


def test_textured_quad_shows_its_texels_upright() -> None:
    mesh = quad(filling(DISTANCE) * 1.0001)
    mesh.visual = TextureVisuals(UV, image=checks().resize((64, 64), Image.Resampling.NEAREST))
    assert quarters(mesh) == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]


def test_texture_repeats_beyond_its_edges() -> None:
    mesh = quad(filling(DISTANCE) * 1.0001)
    image = checks().resize((64, 64), Image.Resampling.NEAREST)
    mesh.visual = TextureVisuals(UV + np.array([3, -2]), image=image)
    assert quarters(mesh) == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]


def test_texture_finer_than_the_pixels_is_averaged() -> None:
    """Black and white texels in turn give half of white's light, evenly."""
    mesh = quad(filling(DISTANCE) * 1.0001)
    board = (np.indices((1024, 1024)).sum(0) % 2 * 255).astype(np.uint8)
    mesh.visual = TextureVisuals(UV * 1.37, image=Image.fromarray(board))
    rgb = draw_mesh(mesh, camera()).rgb
    assert (rgb - 188 / 255).abs().max() < 0.01


def test_factor_and_vertex_colours_multiply_the_texture_in_linear_light() -> None:
    mesh = quad(filling(DISTANCE) * 1.0001)
    grey = Image.fromarray(np.full((4, 4, 3), 188, np.uint8))  # half of white's light
    mesh.visual = TextureVisuals(
        UV, material=PBRMaterial(baseColorTexture=grey, baseColorFactor=[128, 255, 255, 255])
    )
    mesh.vertex_attributes["color"] = np.tile(np.array([255, 188, 255, 255], np.uint8), (4, 1))
    rgb = draw_mesh(mesh, camera()).rgb[0, :, SIZE // 2, SIZE // 2]
    quarter, half = 0.5371, 188 / 255  # sRGB of 1/4 and 1/2
    np.testing.assert_allclose(rgb, [quarter, quarter, half], atol=3e-3)


def test_every_part_wears_its_own_material() -> None:
    mesh = joined([quad(1.0, y) for y in (0.0, 0.1)])
    mesh.vertices[:4, 0] -= 1.0
    mesh.vertices[4:, 0] += 1.0
    stripes = Image.fromarray(np.full((2, 2, 3), (0, 0, 255), np.uint8))
    materials = [SimpleMaterial(image=stripes), SimpleMaterial(diffuse=[0, 255, 0, 255])]
    mesh.visual = TextureVisuals(np.tile(UV, (2, 1)), material=MultiMaterial(materials))
    mesh.face_attributes["material"] = np.array([0, 0, 1, 1])
    rgb = draw_mesh(mesh, camera()).rgb[0]
    assert rgb[:, SIZE // 2, SIZE // 4].tolist() == [0, 0, 1]
    assert rgb[:, SIZE // 2, 3 * SIZE // 4].tolist() == [0, 1, 0]


def test_triangles_behind_the_camera_are_left_out() -> None:
    behind, across = quad(0.5, y=-4.0), quad(0.5)
    across.vertices[:2, 1] = -4.0  # from before the camera to behind it
    assert draw_mesh(behind, camera()).alpha.sum() == 0
    assert draw_mesh(across, camera()).alpha.sum() == 0
    both = draw_mesh(joined([behind, quad(0.5)]), camera())
    assert both.alpha.equal(draw_mesh(quad(0.5), camera()).alpha)


def test_views_follow_their_cameras() -> None:
    ring = orbit([0.0, 90.0], 0.0, distance=DISTANCE, fov_y_deg=FOV, size_px=32)
    drawn = draw_mesh(quad(0.5), ring)
    assert drawn.rgb.shape == (2, 3, 32, 32) and drawn.alpha.shape == drawn.depth.shape == (2, 1, 32, 32)
    assert drawn.alpha[0].sum() > 50 and drawn.alpha[1].sum() == 0  # edge on
