"""GLB files: bytes, axes and colours as glTF 2.0 defines them, parsed plainly and by our reader."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals

from aligncvc.meshes import load_mesh, save_glb
from aligncvc.scene.glb import to_linear, to_srgb


def colours_of(mesh: trimesh.Trimesh) -> np.ndarray:
    """(N, 4) vertex colours, 8 bits."""
    assert isinstance(mesh.visual, ColorVisuals)
    return np.asarray(mesh.visual.vertex_colors)


def coloured_ball() -> trimesh.Trimesh:
    """Squashed, off the centre, every vertex of its own colour: any mix-up of axes or order shows."""
    ball = trimesh.creation.icosphere(2)
    rgba = np.concatenate([127.5 * (ball.vertices + 1), np.full((len(ball.vertices), 1), 255)], 1)
    ball.visual = ColorVisuals(ball, vertex_colors=rgba.astype(np.uint8))
    ball.apply_transform(np.diag([0.3, 0.5, 0.8, 1.0]))
    ball.apply_translation([0.1, -0.2, 0.05])
    return ball


def parsed(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The JSON of a GLB, and the arrays of its one primitive, by name."""
    data = path.read_bytes()
    magic, version, length, json_length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    document = json.loads(data[20 : 20 + json_length])
    blob_length, blob_kind = struct.unpack_from("<I4s", data, 20 + json_length)
    blob = data[28 + json_length :]
    assert blob_kind == b"BIN\0" and len(blob) == blob_length == document["buffers"][0]["byteLength"]
    primitive = document["meshes"][0]["primitives"][0]
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
    arrays = {}
    for name, index in {**primitive["attributes"], "indices": primitive["indices"]}.items():
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        raw = blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        arrays[name] = np.frombuffer(raw, dtype).reshape(accessor["count"], widths[accessor["type"]])
    return document, arrays


def test_same_mesh_same_bytes(tmp_path: Path) -> None:
    for name in ("a.glb", "b.glb"):
        save_glb(tmp_path / name, coloured_ball())
    first = (tmp_path / "a.glb").read_bytes()
    assert first == (tmp_path / "b.glb").read_bytes()
    moved = coloured_ball()
    moved.apply_translation([0.01, 0, 0])
    save_glb(tmp_path / "b.glb", moved)
    assert first != (tmp_path / "b.glb").read_bytes()


def test_stands_upright_in_gltf(tmp_path: Path) -> None:
    """Our z is glTF's y; our front, -y, is its +z; right stays right."""
    ball = coloured_ball()
    save_glb(tmp_path / "mesh.glb", ball)
    document, arrays = parsed(tmp_path / "mesh.glb")
    x, y, z = ball.vertices.T
    np.testing.assert_allclose(arrays["POSITION"], np.stack([x, z, -y], 1), atol=1e-6)
    bounds = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    np.testing.assert_array_equal(bounds["min"], arrays["POSITION"].min(0))
    np.testing.assert_array_equal(bounds["max"], arrays["POSITION"].max(0))
    outward = arrays["POSITION"] - arrays["POSITION"].mean(0)
    assert (np.einsum("ni,ni->n", outward, arrays["NORMAL"]) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(arrays["NORMAL"], axis=1), 1, atol=1e-6)
    triangles = arrays["POSITION"][arrays["indices"].reshape(-1, 3)].astype(np.float64)
    assert trimesh.Trimesh(**trimesh.triangles.to_kwargs(triangles)).volume > 0  # still wound outwards


def test_vertex_colours_are_linear_in_the_file(tmp_path: Path) -> None:
    ball = coloured_ball()
    save_glb(tmp_path / "mesh.glb", ball)
    document, arrays = parsed(tmp_path / "mesh.glb")
    linear = to_linear(colours_of(ball)[:, :3] / 255)
    np.testing.assert_allclose(arrays["COLOR_0"][:, :3] / 65535, linear, atol=1 / 65535)
    assert (arrays["COLOR_0"][:, 3] == 65535).all()
    assert "KHR_materials_unlit" in document["materials"][0]["extensions"]


def test_round_trip_keeps_vertices_faces_and_colours(tmp_path: Path) -> None:
    ball = coloured_ball()
    save_glb(tmp_path / "mesh.glb", ball)
    back = load_mesh(tmp_path / "mesh.glb")
    np.testing.assert_allclose(back.vertices, ball.vertices, atol=1e-6)
    np.testing.assert_array_equal(back.faces, ball.faces)
    difference = colours_of(back).astype(int) - colours_of(ball)
    assert np.abs(difference).max() <= 1
    assert back.is_watertight and back.volume == pytest.approx(ball.volume, rel=1e-5)


def test_texture_becomes_vertex_colours(tmp_path: Path) -> None:
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 0, 1]], [[0, 1, 2]], process=False)
    ramp = np.repeat(np.linspace(0, 200, 101).astype(np.uint8)[None, :, None], 4, 0).repeat(3, 2)
    mesh.visual = TextureVisuals([[0.005, 0.5], [0.5, 0.5], [0.995, 0.5]], image=Image.fromarray(ramp))
    save_glb(tmp_path / "mesh.glb", mesh)
    reds = colours_of(load_mesh(tmp_path / "mesh.glb"))[:, 0]
    np.testing.assert_allclose(reds, [0, 100, 200], atol=1)


def test_mesh_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without faces"):
        save_glb(tmp_path / "mesh.glb", trimesh.Trimesh([[0, 0, 0]], np.zeros((0, 3), int)))
    assert not list(tmp_path.iterdir())


def test_srgb_transfer_function() -> None:
    """Known values of IEC 61966-2-1, and there and back."""
    np.testing.assert_allclose(
        to_linear(np.array([0, 0.04045, 0.5, 1])), [0, 0.0031308, 0.214041, 1], atol=1e-6
    )
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-6)
