"""What users' own OBJ, PLY and glTF files wear arrives, or the object fails and says why."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from object_jobs import fetch_set
from PIL import Image

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.meshes import load_mesh
from aligncvc.objects.sources import convert_mesh
from aligncvc.scene.companions import FolderResolver
from aligncvc.scene.glb import to_linear
from aligncvc.scene.gltf import Gltf

SHAPE = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 1 1\n"""
FACES = "f 1/1 2/2 3/3\nf 1/1 2/2 4/3\nf 2/1 3/2 4/3\n"
PLY = """ply\nformat ascii 1.0\ncomment TextureFile {}\nelement vertex 4\nproperty float x\nproperty float y
property float z\nproperty float s\nproperty float t\nelement face 2\nproperty list uchar int vertex_indices
end_header\n0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n0 0 1 1 1\n3 0 1 2\n3 0 1 3\n"""
BLUE = (40, 80, 200)


def picture(colour: tuple[int, int, int] = BLUE) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def obj(folder: Path, line: str, library: str = "mesh.mtl", worn: str = "skin") -> Path:
    """An OBJ in a folder of its own whose material has this line."""
    (folder / "own").mkdir(exist_ok=True)
    (folder / "own/mesh.mtl").write_text(f"newmtl skin\nKd 0.3 0.3 0.3\n{line}\n")
    (folder / "own/mesh.obj").write_text(f"mtllib {library}\n{SHAPE}usemtl {worn}\n{FACES}")
    return folder / "own/mesh.obj"


def worn(path: Path) -> tuple[int, ...]:
    """The middle texel of the only texture of a GLB."""
    gltf = Gltf.read(path)
    (image,) = gltf.document["images"]
    view = gltf.document["bufferViews"][image["bufferView"]]
    data = bytes(gltf.blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])
    return Image.open(io.BytesIO(data)).convert("RGB").getpixel((4, 4))


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("map_Kd tex.png", "own/tex.png"),
        ("map_Kd -clamp on -s 1 1 1 -o 0.0 0 -mm 0 1 my tex.png", "own/my tex.png"),
        (r"map_Kd C:\Users\me\Tex.PNG", "own/tex.png"),
        ("map_Kd ../shared/tex.png", "shared/tex.png"),
        ("map_Kd /elsewhere/tex.png", "materials/textures/tex.png"),
        ("map_Kd Größe.png", "own/Größe.png"),
    ],
)
def test_textures_are_found_where_they_lie(tmp_path: Path, line: str, where: str) -> None:
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    path = obj(tmp_path, line)
    (tmp_path / where).write_bytes(picture())
    convert_mesh(path, tmp_path / "out.glb")
    np.testing.assert_allclose(worn(tmp_path / "out.glb"), BLUE, atol=3)  # it is a JPEG now
    assert load_mesh(path).visual.kind == "texture"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_text_of_any_editor_is_read(tmp_path: Path, encoding: str) -> None:
    path = obj(tmp_path, "map_Kd Größe.png")
    path.with_name("Größe.png").write_bytes(picture())
    for text in (path, path.with_suffix(".mtl")):
        text.write_bytes(text.read_text().encode(encoding))
    convert_mesh(path, tmp_path / "out.glb")
    np.testing.assert_allclose(worn(tmp_path / "out.glb"), BLUE, atol=3)
    assert len(load_mesh(path).faces) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "has faces of vertices that are not there; export"),
        ("v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "no triangles with an area and finite corners; export"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no triangles with an area and finite corners; export"),
    ],
)
def test_a_shape_that_cannot_be_seen_is_said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(UserError, match=words):
        convert_mesh(tmp_path / "a.obj", tmp_path / "a.glb")


@pytest.mark.parametrize(
    ("settings", "data", "words"),
    [
        ({"line": "map_Kd tex.png"}, None, "tex.png is missing"),
        ({"line": "map_Kd tex.png"}, picture()[:50], "tex.png is broken"),
        ({"line": "map_Kd tex.png"}, b"no picture", "no picture of a known kind"),
        ({"line": "map_Kd -s 2 2 1 tex.png"}, picture(), r"tex.png is scaled or moved \(-s\)"),
        ({"line": "map_Kd -o 0 .5 -clamp on tex.png"}, picture(), r"tex.png is scaled or moved \(-o\)"),
        ({"line": "", "library": "absent.mtl"}, None, "absent.mtl is missing"),
        ({"line": "", "worn": "other"}, None, "material other is in no MTL file"),
        ({"line": "", "library": "mesh.mtl more.mtl"}, None, r"more\.mtl is missing"),
    ],
)
def test_a_lost_look_fails_the_object(
    tmp_path: Path, settings: dict[str, str], data: bytes | None, words: str
) -> None:
    path = obj(tmp_path, **settings)
    if data is not None:
        path.with_name("tex.png").write_bytes(data)
    (tmp_path / "good.stl").write_bytes(trimesh.creation.box().export(file_type="stl"))
    rows = fetch_set(ObjectSet(source="folder", path=str(tmp_path)), tmp_path.with_name("out"))
    assert {row.id: row.status for row in rows} == {"good": "ok", "own-mesh": "failed"}
    with pytest.raises(UserError, match=words) as caught:  # a predicted mesh, too
        load_mesh(path)
    assert str(caught.value) in {row.reason for row in rows} and "\n" not in str(caught.value)
    assert len(load_mesh(path, colours=False).faces) == 3


@pytest.mark.parametrize("libraries", ["mtllib mesh.mtl more.mtl", "mtllib more.mtl\nmtllib mesh.mtl"])
def test_all_material_files_are_read(tmp_path: Path, libraries: str) -> None:
    path = obj(tmp_path, "map_Kd tex.png")
    path.with_name("tex.png").write_bytes(picture())
    path.with_name("more.mtl").write_text("newmtl more\nKd 0 1 0\n")
    text = path.read_text().replace("mtllib mesh.mtl", f"# mtllib of a comment\n{libraries}")
    path.write_text(f"{text}usemtl more\nf 2/1 3/2 4/3\nf 3/1 1/2 4/3\n")
    convert_mesh(path, tmp_path / "out.glb")
    np.testing.assert_allclose(worn(tmp_path / "out.glb"), BLUE, atol=3)
    colours = [
        m["pbrMetallicRoughness"]["baseColorFactor"]
        for m in Gltf.read(tmp_path / "out.glb").document["materials"]
    ]
    assert sorted(colours) == [[0, 1, 0, 1], [1, 1, 1, 1]]


def test_a_picture_of_too_many_pixels_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = obj(tmp_path, "map_Kd tex.png")
    path.with_name("tex.png").write_bytes(picture())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    with pytest.raises(UserError, match="more than 32 pixels"):
        convert_mesh(path, tmp_path / "out.glb")


def linear(colours: np.ndarray) -> np.ndarray:
    return np.asarray(to_linear(np.asarray(colours)[:, :3] / 255))


def corner_colours(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(3F, 3) positions, and COLOR_0 at them, of a GLB with one primitive whose material is white."""
    gltf = Gltf.read(path)
    (primitive,) = gltf.document["meshes"][0]["primitives"]
    surface = gltf.document["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert surface["baseColorFactor"] == [1, 1, 1, 1] and surface["metallicFactor"] == 0
    which = gltf.values(primitive["indices"])[:, 0].astype(int)
    names = ("POSITION", "COLOR_0")
    place, colour = (gltf.values(primitive["attributes"][name])[which, :3] for name in names)
    return place, colour


@pytest.mark.parametrize("kind", ["obj", "obj with a material", "ply", "ply of another tool"])
def test_colours_of_vertices_arrive(tmp_path: Path, kind: str) -> None:
    """Each corner has the colour of its place; display values in the file, linear ones in the GLB."""
    box = trimesh.creation.box()
    colours = np.full((8, 4), 255)
    colours[:, :3] = (box.vertices + 0.5) * 200 + 20
    path = tmp_path / f"box.{kind[:3]}"
    if kind.startswith("ply"):
        box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=colours.astype(np.uint8))
        data = box.export(file_type="ply")
        if "other" in kind:
            for name in (b"red", b"green", b"blue"):
                data = data.replace(b" " + name, b" diffuse_" + name)
        path.write_bytes(data)
    else:
        (tmp_path / "box.mtl").write_text("newmtl plain\nKd 1 1 1\n")
        rows = [
            f"v {' '.join(map(str, v))} {' '.join(map(str, c[:3] / 255))}"
            for v, c in zip(box.vertices, colours, strict=True)
        ]
        rows[:0] = ["mtllib box.mtl", "usemtl plain"] if "material" in kind else []
        rows += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in box.faces]
        path.write_text("\n".join(rows))
    convert_mesh(path, tmp_path / "out.glb")
    place, found = corner_colours(tmp_path / "out.glb")
    np.testing.assert_allclose(found, linear((place + 0.5) * 200 + 20), atol=0.01)


def test_colours_of_faces_arrive(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    colours = np.where(box.face_normals[:, :1] > 0.5, [[250, 40, 40, 255]], [[30, 200, 40, 255]])
    box.visual = trimesh.visual.ColorVisuals(box, face_colors=colours.astype(np.uint8))
    (tmp_path / "box.ply").write_bytes(box.export(file_type="ply"))
    convert_mesh(tmp_path / "box.ply", tmp_path / "out.glb")
    place, found = corner_colours(tmp_path / "out.glb")
    right = np.repeat((place.reshape(-1, 3, 3)[..., 0] > 0.4).all(1), 3)
    assert right.sum() == 6
    np.testing.assert_allclose(found[right], linear(np.tile([250, 40, 40], (6, 1))), atol=0.001)
    np.testing.assert_allclose(found[~right], linear(np.tile([30, 200, 40], (30, 1))), atol=0.001)


def test_a_textured_ply_is_no_metal(tmp_path: Path) -> None:
    (tmp_path / "mesh.ply").write_text(PLY.format("skin.png"))
    with pytest.raises(UserError, match=r"skin\.png is missing"):
        convert_mesh(tmp_path / "mesh.ply", tmp_path / "out.glb")
    (tmp_path / "skin.png").write_bytes(picture())
    convert_mesh(tmp_path / "mesh.ply", tmp_path / "out.glb")
    (material,) = Gltf.read(tmp_path / "out.glb").document["materials"]
    surface = material["pbrMetallicRoughness"]
    assert surface["metallicFactor"] == 0 and surface["baseColorFactor"] == [1, 1, 1, 1]
    np.testing.assert_allclose(worn(tmp_path / "out.glb"), BLUE, atol=3)


def test_only_what_a_model_names_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = obj(tmp_path, "map_Kd tex.png")
    path.with_name("tex.png").write_bytes(picture())
    for number in range(5):
        (tmp_path / f"own/stranger{number}.bin").write_bytes(b"x")
    read: list[str] = []
    plain = Path.open

    def opened(self: Path, *mode: Any, **options: Any) -> Any:
        read.extend([self.name] if self.parent == path.parent else [])
        return plain(self, *mode, **options)

    monkeypatch.setattr(Path, "open", opened)
    convert_mesh(path, tmp_path / "out.glb")
    assert sorted(read) == ["mesh.mtl", "mesh.obj", "tex.png"]


def test_names_are_taken_whatever_their_case(tmp_path: Path) -> None:
    (tmp_path / "Maps").mkdir()
    (tmp_path / "Maps/Skin.PNG").write_bytes(picture())
    assert FolderResolver(tmp_path / "a.obj", b"").get("maps\\skin.png") == picture()


def test_gltf_beside_its_files_becomes_one_glb(tmp_path: Path) -> None:
    """With all that it says, also where trimesh knows nothing of it."""
    scene = trimesh.Scene(trimesh.creation.box())
    files = scene.export(file_type="gltf")
    document = json.loads(files.pop("model.gltf"))
    document["materials"] = [{"extensions": {"KHR_materials_ior": {"ior": 1.2}}}]
    document["images"], document["textures"] = [{"uri": "my%20skin.png"}], [{"source": 0}]
    document["materials"][0]["pbrMetallicRoughness"] = {"baseColorTexture": {"index": 0}}
    (tmp_path / "box.gltf").write_text(json.dumps(document))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=r"names the file my%20skin\.png, which is not there"):
        convert_mesh(tmp_path / "box.gltf", tmp_path / "out.glb")
    (tmp_path / "my skin.png").write_bytes(picture())
    convert_mesh(tmp_path / "box.gltf", tmp_path / "out.glb")
    assert worn(tmp_path / "out.glb") == BLUE
    assert Gltf.read(tmp_path / "out.glb").document["materials"] == document["materials"]
    np.testing.assert_allclose(trimesh.load_scene(tmp_path / "out.glb").extents, [1, 1, 1])
