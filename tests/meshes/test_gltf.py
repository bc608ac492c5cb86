"""One reading of glTF files: what readers understand differently is a still mesh of floats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from still_glbs import (
    POINTS,
    animated,
    coloured,
    glb,
    morphed,
    quantised,
    skinned,
    turned_and_bent,
    two_scenes,
)

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.meshes import load_mesh
from aligncvc.objects.convert import check_glb
from aligncvc.scene.gltf import Gltf
from aligncvc.scene.gltf_still import make_still

BENT = np.array([[0, 0, 0], [1, 0, 0], [-1, 1, 0], [0, 0, 3]])
"""(0, 2, 0) halfway to its place after a quarter turn about z, (-2, 0, 0)."""
LONGER = POINTS + np.array([[0, 0, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("make", "points"),
    [
        (skinned, POINTS + np.array([0, 5, 0])),
        (turned_and_bent, BENT),
        (lambda: morphed(0.5), LONGER),
        (quantised, POINTS),
        (two_scenes, POINTS),
        (animated, POINTS),
        (coloured, POINTS),
    ],
)
def test_every_reader_sees_one_still_object(
    tmp_path: Path, make: Callable[[], bytes], points: np.ndarray
) -> None:
    """y up in the simplified file as trimesh reads it plainly, z up in `load_mesh`."""
    path = tmp_path / "mesh.glb"
    path.write_bytes(make())
    assert check_glb(path) == 4
    order = np.lexsort(points.T)
    found = load_mesh(path).vertices
    np.testing.assert_allclose(found, np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1), atol=2e-4)
    gltf = Gltf.read(path)
    assert make_still(gltf)
    path.write_bytes(gltf.to_bytes())
    plain = trimesh.load_scene(path).to_mesh().vertices
    np.testing.assert_allclose(plain[np.lexsort(plain.T)], points[order], atol=2e-4)
    assert not {"skins", "animations"} & gltf.document.keys() and len(gltf.document["scenes"]) == 1
    assert not make_still(Gltf.read(path))


def test_normals_follow_the_skin(tmp_path: Path) -> None:
    path = tmp_path / "mesh.glb"
    path.write_bytes(turned_and_bent())
    gltf = Gltf.read(path)
    attributes = gltf.document["meshes"][0]["primitives"][0]["attributes"]
    attributes["NORMAL"] = attributes["POSITION"]
    make_still(gltf)
    attributes = gltf.document["meshes"][-1]["primitives"][0]["attributes"]
    normals = gltf.values(attributes["NORMAL"])
    np.testing.assert_allclose(normals[2], [-np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-6)
    np.testing.assert_allclose(normals[[1, 3]], [[1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_bundled_objects_and_idle_targets_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "mesh.glb"
    path.write_bytes(morphed(0.0))
    for each in (path, *sorted((PROJECT_ROOT / "assets/objects").glob("*.glb"))[:4]):
        gltf = Gltf.read(each)
        assert not make_still(gltf) and not gltf.took_in


@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "MY_shape"])
def test_a_required_extension_that_is_unknown_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mesh.glb"
    path.write_bytes(glb({"POSITION": POINTS}, extensionsUsed=[name], extensionsRequired=[name]))
    for read in (check_glb, load_mesh, lambda p: load_mesh(p, colours=False)):
        with pytest.raises(UserError, match=rf"requires the glTF extension {name}, which is not read"):
            read(path)
    path.write_bytes(glb({"POSITION": POINTS}, extensionsUsed=[name]))  # optional: there is a fallback
    assert check_glb(path) == 4


def test_moved_textures_are_known_to_the_renderer_only(tmp_path: Path) -> None:
    path, names = tmp_path / "mesh.glb", ["KHR_texture_transform"]
    path.write_bytes(glb({"POSITION": POINTS}, extensionsUsed=names, extensionsRequired=names))
    assert check_glb(path) == len(load_mesh(path, colours=False).faces) == 4
    with pytest.raises(UserError, match="requires the glTF extension KHR_texture_transform"):
        load_mesh(path)


def textured(picture: bytes | None, texture: dict[str, object]) -> bytes:
    images = [] if picture is None else [{"uri": f"data:image/png;base64,{picture.decode()}"}]
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    return glb({"POSITION": POINTS}, materials=[material], textures=[texture], images=images)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (textured(b"eA==", {"source": 0}), r"broken texture \(no picture of a known kind\)"),
        (textured(None, {"extensions": {"KHR_texture_basisu": {"source": 0}}}), r"\(KHR_texture_basisu\)"),
        (textured(None, {}), r"\(no picture\)"),
    ],
)
def test_pictures_that_cannot_be_shown_fail(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "mesh.glb"
    path.write_bytes(data)
    for read in (check_glb, load_mesh):
        with pytest.raises(UserError, match=words):
            read(path)
    assert len(load_mesh(path, colours=False).faces) == 4
