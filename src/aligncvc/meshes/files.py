"""Reading and writing meshes: the project's frame is z up, the input view on the -y axis.

A GLB (or glTF) is y up, its front +z; OBJ and PLY are taken as z up, unless told otherwise. Colours in memory
are sRGB as in images; glTF keeps the colours of vertices and materials linear, and is converted on the way.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals, TextureVisuals

from aligncvc.errors import UserError
from aligncvc.limits import READ_SECONDS, read_file, within
from aligncvc.meshes.paint import Paint
from aligncvc.scene.companions import FolderResolver, readable
from aligncvc.scene.glb import Material, Part, rgba, to_linear, to_srgb, write_glb
from aligncvc.scene.gltf import READ, TEXTURE_TRANSFORM, Gltf
from aligncvc.scene.gltf_still import make_still

FORMATS = (".glb", ".gltf", ".obj", ".ply")
Y_UP_TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""glTF -> ours: (x, y, z) -> (x, -z, y)."""


def save_glb(path: Path | str, mesh: trimesh.Trimesh) -> None:
    """Write a mesh with vertex colours as GLB, y up, unlit: the colours are those as seen, light included.

    A texture becomes vertex colours. The bytes depend on the mesh alone. ValueError if it has no faces.
    """
    if not len(mesh.faces):
        raise ValueError("a mesh without faces cannot be a GLB")
    turn = Y_UP_TO_Z_UP[:3, :3]  # ours -> glTF is its transpose: rows times the matrix
    colours = Paint.of(mesh).baked(mesh.faces)
    part = Part(
        positions=(mesh.vertices @ turn).astype(np.float32),
        faces=mesh.faces.astype(np.uint32),
        normals=(mesh.vertex_normals @ turn).astype(np.float32),
        uv=None,
        material=Material(colour=(1.0, 1.0, 1.0, 1.0), unlit=True),
        colours=np.concatenate([to_linear(colours[:, :3]), colours[:, 3:]], 1),
    )
    write_glb(path, [part])


def load_mesh(path: Path | str, *, colours: bool = True, up: Literal["y", "z"] = "z") -> trimesh.Trimesh:
    """Read a mesh into the project's frame, all parts in one. colours: False leaves them out (faster).

    up: the axis that points up in OBJ and PLY files; with y they are turned as glTF is.
    Without textures the result has vertex (or face) colours; with them each part keeps its own (see
    `meshes.paint`). Raises UserError for a file that is missing, unreadable or without triangles.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path} is not of a known mesh format; give one of {', '.join(FORMATS)}")
    is_gltf = suffix in (".glb", ".gltf")
    if not path.is_file():
        raise UserError(f"there is no mesh at {path}; check the path")
    try:
        with within(READ_SECONDS, str(path)):
            scene = _gltf_scene(path, colours) if is_gltf else _named_scene(path, colours)
            parts = [p for p in scene.dump() if isinstance(p, trimesh.Trimesh) and len(p.faces)]
    except UserError:
        raise
    except Exception as error:  # trimesh's readers raise anything from struct.error to AttributeError
        raise UserError(f"{path} is not a readable mesh ({error!r}); export it again") from error
    if not parts or not all(np.isfinite(part.vertices).all() for part in parts):
        raise UserError(f"{path} holds no triangles with finite vertices; export it again")
    if any(part.faces.min() < 0 or part.faces.max() >= len(part.vertices) for part in parts):
        raise UserError(f"{path} has faces of vertices that are not there; export it again")
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)])
    mesh = trimesh.Trimesh(np.concatenate([p.vertices for p in parts]), faces, process=False)
    mesh.visual = ColorVisuals(mesh)
    if colours:
        Paint.joined([Paint.of(part) for part in parts]).put_on(mesh)
    if is_gltf or up == "y":
        mesh.apply_transform(Y_UP_TO_Z_UP)
    return mesh


def _named_scene(path: Path, colours: bool) -> trimesh.Scene:
    """A scene with the materials and textures that an OBJ or PLY file names. UserError if one is lost."""
    data, kind = read_file(path), path.suffix.lower()[1:]
    resolver = FolderResolver(path, data)
    read = io.BytesIO(readable(data, kind))
    scene = trimesh.load_scene(read, file_type=kind, resolver=resolver, process=False)
    if colours:
        resolver.require_all()
    return scene


def _gltf_scene(path: Path, colours: bool) -> trimesh.Scene:
    """A scene whose parts carry their COLOR_0 as sRGB in `vertex_attributes["color"]`.

    They are linear as glTF says, unless trimesh wrote the file. Every primitive is given a material: without
    one trimesh keeps only the low byte of 16-bit colours. On copying it forgets colours in the visual.
    """
    gltf = Gltf.read(path, str(path))
    gltf.require_known(READ - {TEXTURE_TRANSFORM} if colours else READ)
    if colours:
        gltf.require_pictures()
    make_still(gltf)
    document = gltf.document
    materials = document.setdefault("materials", [])
    for primitive in (p for m in document.get("meshes", []) for p in m["primitives"]):
        if "material" not in primitive:
            primitive["material"] = len(materials)
            materials.append({"pbrMetallicRoughness": {}})
    written_by = str(document.get("asset", {}).get("generator", ""))
    scene = trimesh.load_scene(io.BytesIO(gltf.to_bytes()), file_type="glb", process=False)
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
