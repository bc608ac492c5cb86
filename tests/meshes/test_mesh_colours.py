"""Real objects keep their colours: vertex colours, several textures, textured and plain parts together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from trimesh.visual import ColorVisuals

from aligncvc.files import PROJECT_ROOT
from aligncvc.meshes import draw_mesh, load_mesh, save_glb
from aligncvc.scene.cameras import orbit

CAMERA = orbit([0.0], 10.0, distance=3.0, fov_y_deg=39.6, size_px=96)


def drawn(name: str) -> np.ndarray:
    mesh = load_mesh(PROJECT_ROOT / f"assets/objects/blendswap-cc-0-{name}.glb")
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(1 / (mesh.vertices**2).sum(1).max() ** 0.5)
    image = draw_mesh(mesh, CAMERA, 1.0)
    return image.rgb[0][:, image.alpha[0, 0] > 0.99].numpy()


def test_vertex_colours_survive_our_own_glb(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(2)
    rgba = np.concatenate([255 * (ball.vertices / 2 + 0.5), np.full((len(ball.vertices), 1), 255)], 1).astype(
        np.uint8
    )
    ball.visual.vertex_colors = rgba
    save_glb(tmp_path / "mesh.glb", ball)
    visual = load_mesh(tmp_path / "mesh.glb").visual
    assert isinstance(visual, ColorVisuals)
    assert np.abs(visual.vertex_colors.astype(int) - rgba).max() <= 2


@pytest.mark.parametrize("name", ["barrel", "chicken"])
def test_two_textured_parts_keep_their_colours(name: str) -> None:
    red, _, blue = drawn(name).mean(1)  # brown things
    assert red > blue + 0.1


def test_textured_and_plain_parts_together() -> None:
    red, green, blue = drawn("cup-cake")
    assert ((blue > red + 0.2) & (blue > 0.5)).mean() > 0.05  # blue stripes
    assert ((red > 0.85) & (green > 0.85) & (blue > 0.8)).mean() > 0.2  # white cream
