"""Reading meshes into the project's frame: z up, the input view on the -y axis.

A GLB (or glTF) is y up: its (x, y, z) is our (x, -z, y), and its front, +z, is our -y. OBJ and PLY have no
up axis of their own and are taken as they are, z up. Colours in memory are sRGB as in images; glTF keeps the
colours of vertices and materials linear, and is converted on the way.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.resolvers import FilePathResolver
from trimesh.visual import ColorVisuals, TextureVisuals

from aligncvc.errors import UserError
from aligncvc.meshes.glb import Y_UP_TO_Z_UP
from aligncvc.meshes.paint import Paint, rgba, to_srgb
from aligncvc.scene.glb import container

FORMATS = (".glb", ".gltf", ".obj", ".ply")


def load_mesh(path: Path | str, *, colours: bool = True) -> trimesh.Trimesh:
    """Read a mesh into the project's frame, all parts in one; z up for OBJ and PLY, y up for GLB and glTF.

    Without textures the result has vertex (or face) colours; with them each part keeps its own (see
    `meshes.paint`). colours: False leaves colours out (faster). Vertex colours of a GLB are linear as
    glTF says, unless trimesh wrote the file, which puts sRGB there. Raises UserError for a file that is
    missing, unreadable or without triangles.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path} is not of a known mesh format; give one of {', '.join(FORMATS)}")
    is_gltf = suffix in (".glb", ".gltf")
    if not path.is_file():
        raise UserError(f"there is no mesh at {path}; check the path")
    try:
        scene = _gltf_scene(path) if is_gltf else trimesh.load_scene(path, process=False)
        parts = [p for p in scene.dump() if isinstance(p, trimesh.Trimesh) and len(p.faces)]
    except Exception as error:  # trimesh's readers raise anything from struct.error to AttributeError
        raise UserError(f"{path} is not a readable mesh ({error!r}); export it again") from error
    if not parts or not all(np.isfinite(part.vertices).all() for part in parts):
        raise UserError(f"{path} holds no triangles with finite vertices; export it again")
    mesh = _joined(parts)
    if colours:
        Paint.joined([Paint.of(part) for part in parts]).put_on(mesh)
    if is_gltf:
        mesh.apply_transform(Y_UP_TO_Z_UP)
    return mesh


def _gltf_scene(path: Path) -> trimesh.Scene:
    """A scene whose parts carry their COLOR_0 as sRGB in `vertex_attributes["color"]`.

    Every primitive is given a material (glTF's default one is white): without one trimesh keeps only the low
    byte of 16-bit colours. Colours are moved out of the visual, for trimesh forgets them there on copying.
    """
    document, rest = _document(path.read_bytes())
    _name_materials(document)
    written_by = str(document.get("asset", {}).get("generator", ""))
    data = json.dumps(document).encode() if rest is None else container(document, rest)
    kind = "gltf" if rest is None else "glb"
    resolver = FilePathResolver(str(path))
    scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, resolver=resolver, process=False)
    for part in scene.geometry.values():
        if not isinstance(part, trimesh.Trimesh) or not isinstance(part.visual, TextureVisuals):
            continue
        colour = part.visual.vertex_attributes.get("color")
        if colour is not None and len(colour) == len(part.vertices):
            values = rgba(colour)
            if "trimesh" not in written_by:
                values[:, :3] = to_srgb(values[:, :3])
            part.vertex_attributes["color"] = values
    return scene


def _document(data: bytes) -> tuple[dict[str, Any], bytes | None]:
    """The JSON of a glTF file and, of a GLB, the chunks behind it."""
    if data[:4] != b"glTF":
        return json.loads(data), None
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[20 + length :]


def _name_materials(document: dict[str, Any]) -> None:
    """Primitives without a material get one that says nothing."""
    bare = [p for m in document.get("meshes", []) for p in m["primitives"] if "material" not in p]
    if bare:
        materials = document.setdefault("materials", [])
        materials.append({"pbrMetallicRoughness": {}})
        for primitive in bare:
            primitive["material"] = len(materials) - 1


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """All parts' triangles in one mesh, without colours."""
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)])
    mesh = trimesh.Trimesh(np.concatenate([p.vertices for p in parts]), faces, process=False)
    mesh.visual = ColorVisuals(mesh)
    return mesh
