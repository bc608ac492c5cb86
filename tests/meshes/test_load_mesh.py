"""Reading meshes: up axes, colours of every kind of file, errors of one sentence."""

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
from trimesh.visual.material import PBRMaterial

from aligncvc.errors import UserError
from aligncvc.meshes import draw_mesh, load_mesh, save_glb
from aligncvc.scene.cameras import orbit

TRIANGLE = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], "<f4")
"""In glTF's frame: upright, facing +z, which is our front."""


def write_glb(
    path: Path,
    colours: np.ndarray | None = None,
    material: dict[str, Any] | None = None,
    generator: str = "some tool",
) -> Path:
    """One triangle; colours: (3, 3 or 4) COLOR_0 of 8 or 16 bits or float32."""
    arrays = (
        [TRIANGLE] if colours is None else [TRIANGLE, np.pad(colours, ((0, 0), (0, 4 - colours.shape[1])))]
    )
    if colours is not None and colours.shape[1] == 3:
        arrays[1][:, 3] = 1 if colours.dtype.kind == "f" else np.iinfo(colours.dtype).max
    blob, views, accessors = b"", [], []
    for index, values in enumerate(arrays):
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": values.nbytes})
        kind = {"f": 5126, "u1": 5121, "u2": 5123}[
            values.dtype.kind if values.dtype.kind == "f" else f"u{values.itemsize}"
        ]
        accessors.append(
            {"bufferView": index, "count": 3, "componentType": kind, "type": f"VEC{values.shape[1]}"}
        )
        blob += values.tobytes()
    accessors[0] |= {"min": TRIANGLE.min(0).tolist(), "max": TRIANGLE.max(0).tolist()}
    primitive: dict[str, Any] = {"attributes": {"POSITION": 0}}
    if colours is not None:
        primitive["attributes"]["COLOR_0"] = 1
        accessors[1]["normalized"] = values.dtype.kind == "u"
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": generator},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "bufferViews": views,
        "accessors": accessors,
        "buffers": [{"byteLength": len(blob)}],
    }
    if material is not None:
        document["materials"] = [material]
        primitive["material"] = 0
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def colours_of(path: Path) -> list[list[int]]:
    visual = load_mesh(path).visual
    assert isinstance(visual, ColorVisuals)
    return np.asarray(visual.vertex_colors)[:, :3].tolist()


def test_gltf_is_y_up_and_faces_our_front(tmp_path: Path) -> None:
    mesh = load_mesh(write_glb(tmp_path / "mesh.glb"))
    np.testing.assert_allclose(mesh.vertices, [[-1, 0, -1], [1, 0, -1], [0, 0, 1]], atol=1e-7)
    np.testing.assert_allclose(mesh.face_normals, [[0, -1, 0]], atol=1e-7)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_obj_and_ply_are_z_up(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mesh{suffix}"
    trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 0, 3]], [[0, 1, 2]], process=False).export(path)
    np.testing.assert_allclose(load_mesh(path).bounds, [[0, 0, 0], [1, 0, 3]])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("material", [None, {"pbrMetallicRoughness": {}}])
def test_vertex_colours_of_any_width_are_linear(
    tmp_path: Path, kind: type, material: dict[str, Any] | None
) -> None:
    linear = np.array([[1, 0, 0], [0, 0.5, 0], [0, 0, 0.2]])
    top = 1 if kind is np.float32 else np.iinfo(kind).max
    values = linear * top if kind is np.float32 else (linear * top).round()
    found = colours_of(write_glb(tmp_path / "mesh.glb", values.astype(kind), material))
    np.testing.assert_allclose(found, [[255, 0, 0], [0, 188, 0], [0, 0, 124]], atol=1)


def test_trimesh_writes_srgb_and_is_read_so(tmp_path: Path) -> None:
    values = np.array([[255, 0, 0], [0, 128, 0], [0, 0, 51]], np.uint8)
    path = write_glb(tmp_path / "mesh.glb", values, generator="https://github.com/mikedh/trimesh")
    assert colours_of(path) == values.tolist()
    exported = trimesh.Trimesh(TRIANGLE, [[0, 1, 2]], vertex_colors=values, process=False)
    exported.export(tmp_path / "exported.glb")
    assert colours_of(tmp_path / "exported.glb") == values.tolist()


def test_factor_of_a_material_is_linear_and_multiplies(tmp_path: Path) -> None:
    material = {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 1, 1, 1]}}
    path = write_glb(tmp_path / "mesh.glb", np.full((3, 3), 0.5, np.float32), material)
    np.testing.assert_allclose(colours_of(path), [[137, 188, 188]] * 3, atol=1)  # 1/4 and 1/2 in sRGB


def test_gltf_without_colour_is_white(tmp_path: Path) -> None:
    assert colours_of(write_glb(tmp_path / "mesh.glb")) == [[255, 255, 255]] * 3


def two_parts() -> trimesh.Scene:
    """Left a blue texture with a factor, right plain orange."""
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = [[0, 1, 2], [0, 2, 3]]
    left, right = (trimesh.Trimesh(square - [x, 0.5, 0], faces, process=False) for x in (1, 0))
    blue = Image.fromarray(np.full((8, 8, 3), (40, 80, 200), np.uint8))
    textured = PBRMaterial(baseColorTexture=blue, baseColorFactor=[255, 255, 255, 255])
    left.visual = TextureVisuals(square[:, :2], material=textured)
    right.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=[255, 55, 0, 255]))
    return trimesh.Scene([left, right])


def centres(mesh: trimesh.Trimesh) -> list[list[int]]:
    camera = orbit([0.0], 0.0, distance=3.0, fov_y_deg=39.6, size_px=32)
    rgb = draw_mesh(mesh, camera).rgb[0]
    return [(rgb[:, 16, column] * 255).round().int().tolist() for column in (12, 20)]


def test_textured_and_plain_parts_keep_their_colours_in_one_mesh(tmp_path: Path) -> None:
    two_parts().export(tmp_path / "mesh.glb")
    mesh = load_mesh(tmp_path / "mesh.glb")
    assert len(mesh.faces) == 4
    left, right = centres(mesh)
    np.testing.assert_allclose(left, [40, 80, 200], atol=1)
    np.testing.assert_allclose(right, [255, 128, 0], atol=2)  # linear 55/255
    moved = mesh.copy()
    moved.apply_translation([0, 0.3, 0])
    assert centres(moved) == centres(mesh)
    mirrored = mesh.copy()
    mirrored.apply_transform(np.diag([-1.0, 1, 1, 1]))
    assert centres(mirrored) == centres(mesh)[::-1]
    save_glb(tmp_path / "baked.glb", mesh)
    np.testing.assert_allclose(centres(load_mesh(tmp_path / "baked.glb")), centres(mesh), atol=2)


def test_parts_cut_from_a_mesh_keep_their_colours(tmp_path: Path) -> None:
    two_parts().export(tmp_path / "mesh.glb")
    mesh = load_mesh(tmp_path / "mesh.glb")
    mesh.update_faces(mesh.triangles_center[:, 0] > 0)
    mesh.remove_unreferenced_vertices()
    np.testing.assert_allclose(centres(mesh)[1], [255, 128, 0], atol=2)
    assert centres(mesh)[0] == [255, 255, 255]  # background


def test_gltf_beside_its_buffers(tmp_path: Path) -> None:
    for name, data in trimesh.exchange.gltf.export_gltf(two_parts()).items():
        (tmp_path / name).write_bytes(data)
    two_parts().export(tmp_path / "mesh.glb")
    assert centres(load_mesh(tmp_path / "model.gltf")) == centres(load_mesh(tmp_path / "mesh.glb"))


def test_obj_with_two_materials(tmp_path: Path) -> None:
    """Kd beside an image is a left-over and ignored; alone it is the colour."""
    Image.fromarray(np.full((4, 4, 3), (40, 80, 200), np.uint8)).save(tmp_path / "blue.png")
    (tmp_path / "mesh.mtl").write_text("newmtl a\nKd 0 0 0\nmap_Kd blue.png\nnewmtl b\nKd 1 0.5 0\n")
    (tmp_path / "mesh.obj").write_text(
        "mtllib mesh.mtl\nv -1 0 -.5\nv 0 0 -.5\nv 0 0 .5\nv -1 0 .5\nv 1 0 -.5\nv 1 0 .5\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl a\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\nusemtl b\nf 2/1 5/2 6/3\nf 2/1 6/3 3/4\n"
    )
    left, right = centres(load_mesh(tmp_path / "mesh.obj"))
    np.testing.assert_allclose(left, [40, 80, 200], atol=1)
    np.testing.assert_allclose(right, [255, 128, 0], atol=1)


def test_without_colours_the_shape_is_the_same(tmp_path: Path) -> None:
    two_parts().export(tmp_path / "mesh.glb")
    plain, full = load_mesh(tmp_path / "mesh.glb", colours=False), load_mesh(tmp_path / "mesh.glb")
    np.testing.assert_array_equal(plain.triangles, full.triangles)
    assert isinstance(plain.visual, ColorVisuals) and plain.visual.kind is None


ODD = b"""ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z
element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n"""


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mesh.fbx", b"", "known mesh format"),
        ("missing.glb", None, "there is no mesh"),
        ("broken.glb", b"glTF\2\0\0\0", "not a GLB file"),
        ("broken.gltf", b"{", "does not load"),
        ("empty.obj", b"v 0 0 0\n", "no triangles"),
        ("broken.ply", b"ply\nformat ascii 1.0\nelement vertex 9\n", "not a readable mesh"),
        ("odd.ply", ODD, "faces of vertices that are not there"),
        ("nan.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no triangles with finite vertices"),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_mesh(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and ";" in message
