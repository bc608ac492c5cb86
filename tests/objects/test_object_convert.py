"""OBJ to GLB: geometry, colours, textures, transparency, repairs, determinism, corrupt files."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from aligncvc.errors import UserError
from aligncvc.objects.convert import (
    MemoryResolver,
    check_glb,
    obj_parts,
    opacity,
)
from aligncvc.objects.triangles import corner_normals, drop_coincident
from aligncvc.scene.glb import Material, Part, glb_bytes, write_glb


def tree_of(data: bytes) -> dict:
    return json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])


def parts_of(files: dict[str, bytes], **settings) -> list[Part]:
    return obj_parts(files["cube.obj"], MemoryResolver(files), **settings)


def square(uv: bool = False, **material) -> Part:
    positions = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
    return Part(positions, faces, None, positions[:, :2].copy() if uv else None, Material(**material))


def test_cube_survives_the_trip(cube_obj, tmp_path):
    path = tmp_path / "cube.glb"
    write_glb(path, parts_of(cube_obj, size=2.0))
    assert check_glb(path) == 12
    mesh = trimesh.load_scene(path).to_mesh()
    assert np.allclose(mesh.extents, [1, 1, 2])  # 2 x 2 x 4 scaled to a longest side of 2
    assert np.allclose(mesh.bounds.mean(0), 0)
    assert np.isclose(mesh.area, 2 * (1 * 1 + 2 * 1 * 2))


def test_colours_are_linear_and_transparency_is_kept(cube_obj):
    plain = next(p.material for p in parts_of(cube_obj) if p.material.texture is None)
    assert plain.colour == pytest.approx((0.214041, 0.050876, 1.0, 0.4), abs=1e-6)  # sRGB 0.5, 0.25, 1
    assert plain.alpha_mode == "BLEND"
    entry = tree_of(glb_bytes(parts_of(cube_obj)))["materials"]
    assert all(material["doubleSided"] for material in entry)


def test_texture_is_reduced_and_upright(cube_obj, tmp_path):
    part = next(p for p in parts_of(cube_obj) if p.material.texture is not None)
    image = Image.open(io.BytesIO(part.material.texture))
    assert image.size == (256, 192)
    left, right = image.getpixel((20, 90)), image.getpixel((236, 90))
    assert left[2] > 180 > 60 > left[0] and right[0] > 170 > 60 > right[2]
    assert part.material.colour == (1, 1, 1, 1)  # Kd 0 beside a texture must not blacken it
    assert set(part.uv[:, 1].round(6)) == {0.0, 1.0}
    bottom = part.positions[np.isclose(part.uv[:, 1], 1.0)]  # vt v=0 is glTF's v=1
    assert len(bottom) > 0
    path = tmp_path / "cube.glb"
    write_glb(path, [part])
    assert trimesh.load_scene(path).to_mesh().visual.material.baseColorTexture.size == (256, 192)


def test_alpha_textures_stay_transparent(cube_obj):
    image = Image.new("RGBA", (64, 64), (10, 200, 10, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    png = io.BytesIO()
    image.save(png, "PNG")
    material = next(
        p.material for p in parts_of({**cube_obj, "wood.png": png.getvalue()}) if p.material.texture
    )
    assert material.alpha_mode == "MASK" and material.texture_mime == "image/png"
    assert Image.open(io.BytesIO(material.texture)).mode == "RGBA"


def test_broken_or_missing_texture_falls_back_to_the_colour(cube_obj):
    for files in (
        {**cube_obj, "wood.png": b"no image"},
        {k: v for k, v in cube_obj.items() if k != "wood.png"},
    ):
        assert all(part.material.texture is None for part in parts_of(files))


@pytest.mark.parametrize(
    ("kwargs", "value"),
    [
        ({"d": ["0.3"]}, 0.3),
        ({"tr": ["0.3"]}, 0.7),
        ({}, 1.0),
        ({"d": ["-halo", "0.2"]}, 0.2),
        ({"d": ["x"]}, 1),
    ],
)
def test_opacity(kwargs, value):
    assert opacity(kwargs) == pytest.approx(value)


def test_invisible_parts_are_dropped(cube_obj):
    mtl = cube_obj["cube.mtl"].replace(b"d 0.4", b"d 0.0")
    parts = parts_of({**cube_obj, "cube.mtl": mtl})
    assert len(parts) == 1 and parts[0].material.texture is not None


def test_rotation_turns_z_up_into_y_up(cube_obj):
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    parts = parts_of(cube_obj, rotation=turn)
    extent = np.ptp(np.concatenate([p.positions for p in parts]), axis=0)
    assert np.allclose(extent, [2, 4, 2])


def test_normals_stay_sharp_on_a_cube_and_smooth_on_a_sphere():
    box = trimesh.creation.box()
    sharp = corner_normals(box.vertices, box.faces)
    assert np.allclose(sharp, box.face_normals[:, None, :])
    ball = trimesh.creation.icosphere(subdivisions=3)
    smooth = corner_normals(ball.vertices, ball.faces)
    cosine = np.einsum("fci,fci->fc", smooth, ball.vertices[ball.faces])
    assert cosine.min() > 0.999


def test_smooth_normals_do_not_mind_flipped_neighbours():
    ball = trimesh.creation.icosphere(subdivisions=3)
    faces = ball.faces.copy()
    faces[::3] = faces[::3, ::-1]
    smooth = corner_normals(ball.vertices, faces)
    cosine = np.einsum("fci,fci->fc", smooth, ball.vertices[faces])
    assert np.abs(cosine).min() > 0.999
    assert (cosine[::3] < 0).all() and (cosine[1::3] > 0).all()  # each on its own face's side


def test_faces_against_their_normals_are_turned():
    text = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 -1\nf 1//1 2//1 3//1\n"
    part = obj_parts(text, MemoryResolver({}))[0]
    a, b, c = part.positions[part.faces[0]]
    assert np.cross(b - a, c - a)[2] < 0
    assert np.allclose(part.normals, [0, 0, -1])


def test_doubled_faces_are_drawn_once(cube_obj):
    lines = cube_obj["cube.obj"].decode().splitlines()
    quads = [line.split()[1:] for line in lines if line.startswith("f")]
    back = ["f " + " ".join([quad[0], *reversed(quad[1:])]) for quad in quads]
    doubled = {**cube_obj, "cube.obj": "\n".join([*lines, "usemtl plain", *back]).encode()}
    parts = parts_of(doubled)
    assert sum(len(p.faces) for p in parts) == 12
    assert sum(len(p.faces) for p in parts if p.material.texture) == 4  # the textured copy wins


def test_coincident_faces_ignore_winding_and_mesh():
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)
    first, second = drop_coincident(
        [positions, positions[::-1].copy()], [np.array([[0, 1, 2]]), np.array([[1, 2, 3], [0, 1, 2]])]
    )
    assert first.tolist() == [[0, 1, 2]]
    assert second.tolist() == [[0, 1, 2]]  # [1,2,3] of the reversed vertices is the first mesh's triangle


def test_same_input_same_bytes(cube_obj):
    assert glb_bytes(parts_of(cube_obj)) == glb_bytes(parts_of(cube_obj))


def test_bytes_carry_no_path_and_small_indices(cube_obj):
    data = glb_bytes(parts_of(cube_obj))
    assert b"/" not in data[20 : 20 + struct.unpack("<I", data[12:16])[0]].replace(b"image/", b"")
    assert {a["componentType"] for a in tree_of(data)["accessors"] if a["type"] == "SCALAR"} == {5123}


def test_large_meshes_get_wide_indices(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=7)
    part = Part(ball.vertices.astype(np.float32), ball.faces.astype(np.uint32), None, None, Material())
    write_glb(tmp_path / "ball.glb", [part])
    assert check_glb(tmp_path / "ball.glb") == len(ball.faces) == 327_680
    assert np.isclose(trimesh.load_scene(tmp_path / "ball.glb").to_mesh().area, ball.area, rtol=1e-5)


def test_equal_materials_and_textures_are_stored_once():
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    parts = [square(uv=True, texture=buffer.getvalue()), square(uv=True, texture=buffer.getvalue()), square()]
    tree = tree_of(glb_bytes(parts))
    assert len(tree["images"]) == 1 and len(tree["materials"]) == 2


@pytest.mark.parametrize("text", [b"", b"v 0 0 0\n", b"v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", b"f 1 2 3\n"])
def test_empty_models_are_refused(text):
    with pytest.raises(UserError):
        obj_parts(text, MemoryResolver({}))


def test_corrupt_glbs_are_refused(tmp_path):
    good = glb_bytes([square()])
    cases = {
        "cut short": good[:-20],
        "not a GLB": b"<html>404</html>" + good,
        "does not load": good[:20] + b"?" * 40 + good[60:],
    }
    for reason, data in cases.items():
        path = tmp_path / "bad.glb"
        path.write_bytes(data)
        with pytest.raises(UserError, match=reason):
            check_glb(path)


def test_empty_and_infinite_geometry_is_refused(tmp_path):
    path = tmp_path / "bad.glb"
    part = square()
    part.positions[0, 0] = np.nan
    path.write_bytes(glb_bytes([part]))
    with pytest.raises(UserError, match=r"finite|does not load"):
        check_glb(path)
    path.write_bytes(glb_bytes([Part(np.ones((3, 3), np.float32), part.faces[:1], None, None, Material())]))
    with pytest.raises(UserError, match="single point"):
        check_glb(path)
    with pytest.raises(UserError, match="no glTF header"):
        check_glb(tmp_path / "absent.glb")
