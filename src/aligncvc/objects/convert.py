"""OBJ + MTL + textures, PLY and STL -> parts for `scene.glb`, and whether a GLB has something in it.

Repairs: faces wound against their own normals are turned, zero-area and coincident faces and invisible
materials are dropped, textures are reduced. MTL colours are display values (sRGB); glTF wants linear ones.
"""

from __future__ import annotations

import contextlib
import io
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.resolvers import Resolver, ZipResolver
from trimesh.visual import ColorVisuals

from aligncvc.errors import UserError
from aligncvc.limits import READ_SECONDS, within
from aligncvc.objects.triangles import (
    corner_normals,
    drop_coincident,
    face_normals,
    unique_vertices,
    unit_normals,
)
from aligncvc.scene.companions import readable, text_of
from aligncvc.scene.glb import Material, Part, rgba, to_linear
from aligncvc.scene.gltf import Gltf
from aligncvc.scene.gltf_still import make_still

TEXTURE_PX = 256
JPEG_QUALITY = 85
INVISIBLE = 0.01
"""Opacity below which a material is not drawn at all."""


class MemoryResolver(ZipResolver):
    """Finds materials and textures beside a model among named bytes, whatever the case of their names."""

    def __init__(self, files: Mapping[str, bytes], folder: str = ""):
        self.files = {name.lower(): data for name, data in files.items()}
        super().__init__(self.files, folder)

    def get(self, key: str) -> bytes:
        """Bytes of `key` relative to the folder, text recoded to UTF-8. FileNotFoundError if absent."""
        name = key.strip().strip('"').replace("\\", "/")
        full = posixpath.normpath(posixpath.join("/", self.namespace, name)).strip("/").lower()
        if full not in self.files:
            raise FileNotFoundError(key)
        data = self.files[full]
        return text_of(data).encode() if full.endswith((".obj", ".mtl")) else data


def _encode_texture(image: Image.Image, size: int) -> tuple[bytes, str, str]:
    """(bytes, mime type, alpha mode) of an image reduced to at most `size` pixels a side."""
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    scale = size / max(image.size)
    if scale < 1:
        target = [max(1, round(side * scale)) for side in image.size]
        image = image.resize((target[0], target[1]), Image.Resampling.BOX)
    buffer = io.BytesIO()
    if image.mode == "RGBA":
        alpha = np.asarray(image)[..., 3]
        if alpha.min() < 250:
            graded = ((alpha > 40) & (alpha < 215)).mean()
            image.save(buffer, "PNG", optimize=True)
            return buffer.getvalue(), "image/png", "BLEND" if graded > 0.2 else "MASK"
        image = image.convert("RGB")
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), "image/jpeg", "OPAQUE"


def _number(values: Any, default: float) -> float:
    try:
        return float(values[0] if isinstance(values, (list, tuple)) else values)
    except (TypeError, ValueError, IndexError):
        return default


def opacity(kwargs: Mapping[str, Any]) -> float:
    """Opacity in [0, 1] from the MTL statements `d` (opacity) or else `Tr` (its complement)."""
    values = kwargs.get("d")
    if isinstance(values, list) and values[:1] == ["-halo"]:
        values = values[1:]
    value = _number(values, 1.0) if "d" in kwargs else 1.0 - _number(kwargs.get("tr"), 0.0)
    return float(np.clip(value, 0, 1))


def _material(mtl: Any, textured: bool, size: int) -> Material:
    """A glTF material from trimesh's SimpleMaterial; `textured` tells whether the part has uv."""
    kwargs = getattr(mtl, "kwargs", {})
    diffuse = np.asarray(kwargs.get("kd", [0.8, 0.8, 0.8]), np.float64).reshape(-1)
    diffuse = np.clip(diffuse if diffuse.size == 3 else np.full(3, diffuse[0]), 0, 1)
    alpha = opacity(kwargs)
    shine = float(np.clip(_number(kwargs.get("ns"), 0.0), 0, 1000))
    bright = np.max(np.atleast_1d(np.asarray(kwargs.get("ks", [0.0]), np.float64))) > 0.02
    roughness = float(np.clip(1 - np.sqrt(shine / 1000), 0.35, 1)) if bright else 1.0
    texture, mime, mode = None, "image/jpeg", "OPAQUE"
    image = getattr(mtl, "image", None)
    if textured and image is not None:
        # Pillow's errors for broken images: keep the plain colour
        with contextlib.suppress(OSError, ValueError, SyntaxError):
            texture, mime, mode = _encode_texture(image, size)
            diffuse = np.ones(3)  # beside a texture Kd is a left-over; Sweet Home 3D ignores it too
    mode = "BLEND" if alpha < 0.995 else mode
    colour = (*to_linear(diffuse).tolist(), alpha)
    return Material(colour, roughness, mode, texture, mime)  # type: ignore[arg-type]


def _solid_faces(mesh: trimesh.Trimesh) -> NDArray[Any]:
    """Faces with finite coordinates and an area above zero."""
    faces = np.asarray(mesh.faces)
    own = face_normals(np.asarray(mesh.vertices), faces)
    return faces[np.isfinite(own).all(1) & (np.linalg.norm(own, axis=1) > 0)]


def _precedence(mesh: trimesh.Trimesh) -> tuple[bool, bool]:
    """Sort key: of two coincident faces a visible one wins, then a textured one."""
    hidden = opacity(getattr(getattr(mesh.visual, "material", None), "kwargs", {})) < INVISIBLE
    return hidden, getattr(mesh.visual, "uv", None) is None


def _coloured_by_vertex(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Colours of faces as colours of vertices that no two faces share."""
    if not (isinstance(mesh.visual, ColorVisuals) and mesh.visual.kind == "face"):
        return mesh
    corners, colours = np.asarray(mesh.faces).reshape(-1), np.repeat(mesh.visual.face_colors, 3, axis=0)
    faces = np.arange(len(corners)).reshape(-1, 3)
    return trimesh.Trimesh(mesh.vertices[corners], faces, vertex_colors=colours, process=False)


def _vertex_colours(mesh: trimesh.Trimesh) -> NDArray[np.float32] | None:
    """Linear RGBA (V, 4) that the vertices have of their own, or None."""
    given = mesh.vertex_attributes.get("color")  # where a material stands beside them
    if isinstance(mesh.visual, ColorVisuals):
        given = mesh.visual.vertex_colors if mesh.visual.kind == "vertex" else None
    if given is None:
        return None
    colours = rgba(np.asarray(given))
    return np.concatenate([to_linear(colours[:, :3]), colours[:, 3:]], 1).astype(np.float32)


def _part(mesh: trimesh.Trimesh, faces: NDArray[Any], rotation: NDArray[np.float64], texture_px: int) -> Part:
    positions = np.einsum("ij,vj->vi", rotation, np.asarray(mesh.vertices, np.float64))
    own = face_normals(positions, faces)
    visual = mesh.visual
    uv = getattr(visual, "uv", None)
    material = _material(getattr(visual, "material", None), uv is not None, texture_px)
    colours = _vertex_colours(mesh)
    if colours is not None:
        white = (1.0, 1.0, 1.0, 1.0) if isinstance(visual, ColorVisuals) else material.colour
        mode = "BLEND" if colours[:, 3].min() < 0.995 else material.alpha_mode
        material = replace(material, colour=white, alpha_mode=mode)
    given = mesh._cache.cache.get("vertex_normals")  # only what the file gave
    if given is not None:
        turned = unit_normals(positions, faces, np.einsum("ij,vj->vi", rotation, np.nan_to_num(given)))
        against = np.einsum("fi,fi->f", own, turned[faces].sum(1)) < 0
        faces = np.where(against[:, None], faces[:, ::-1], faces)
        normals = turned[faces]
    else:
        normals = corner_normals(positions.astype(np.float32), faces)
    corners = faces.reshape(-1)
    columns = [positions[corners].astype(np.float32), normals.reshape(-1, 3).round(3).astype(np.float32)]
    if colours is not None:
        columns.append(colours[corners])
    if material.texture is not None and uv is not None:
        columns.append(np.nan_to_num(np.stack([uv[corners, 0], 1 - uv[corners, 1]], 1)).astype(np.float32))
    (points, directions, *more), faces = unique_vertices(columns)
    maps = more.pop() if material.texture is not None else None
    return Part(points, faces, directions, maps, material, more[0] if more else None)


def _scaled(parts: list[Part], size: float | None) -> list[Part]:
    """Centre the bounding box on the origin; if `size` is given, scale uniformly to that longest side."""
    low = np.min([p.positions.min(0) for p in parts], 0).astype(np.float64)
    high = np.max([p.positions.max(0) for p in parts], 0).astype(np.float64)
    longest = float((high - low).max())
    if not np.isfinite(longest) or longest <= 0:
        raise UserError("the model has no extent")
    factor = 1.0 if size is None else size / longest
    centre = (low + high) / 2
    return [replace(p, positions=((p.positions - centre) * factor).astype(np.float32)) for p in parts]


def obj_parts(
    data: bytes,
    resolver: Resolver,
    rotation: NDArray[np.float64] | None = None,
    size: float | None = None,
    texture_px: int = TEXTURE_PX,
    kind: str = "obj",
) -> list[Part]:
    """Parts of an OBJ file's bytes, y up, centred. UserError if it has no triangles.

    rotation: (3,3) applied to the model; size: the longest side (glTF metres), None keeps the file's. kind:
    also "ply" and "stl".
    """
    text = io.BytesIO(readable(data, kind))
    try:
        scene = trimesh.load_scene(text, file_type=kind, resolver=resolver, process=False)
    except IndexError:
        raise UserError(
            f"the {kind.upper()} file has faces of vertices that are not there; export it again"
        ) from None
    except Exception as error:  # the reader's errors are many; each means an unreadable model
        raise UserError(f"the {kind.upper()} file does not load: {type(error).__name__}: {error}") from None
    turn = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
    meshes = [m for _, m in sorted(scene.geometry.items()) if isinstance(m, trimesh.Trimesh) and len(m.faces)]
    meshes = sorted(map(_coloured_by_vertex, meshes), key=_precedence)
    faces = [_solid_faces(mesh) for mesh in meshes]
    if not sum(map(len, faces)):
        raise UserError(
            f"the {kind.upper()} file has no triangles with an area and finite corners; export it again"
        )
    faces = drop_coincident([np.nan_to_num(np.asarray(mesh.vertices)) for mesh in meshes], faces)
    parts = [_part(m, f, turn, texture_px) for m, f in zip(meshes, faces, strict=True) if len(f)]
    visible = [part for part in parts if part.material.colour[3] >= INVISIBLE]
    return _scaled(visible or parts, size)


def surface_of(gltf: Gltf) -> list[trimesh.Trimesh]:
    """The meshes of a file, y up, each in its place. Any error of trimesh's reader for a bad one."""
    make_still(gltf)
    scene = trimesh.load_scene(io.BytesIO(gltf.to_bytes()), file_type="glb", process=False)
    return [m for m in scene.dump() if isinstance(m, trimesh.Trimesh) and len(m.faces)]


def check_glb(path: Path) -> int:
    """Number of triangles of a GLB.

    UserError if it is cut, unreadable, empty, a point or not finite, requires what nobody here reads, or
    wears a broken picture.
    """
    gltf = Gltf.read(path)
    gltf.require_known()
    gltf.require_pictures()
    try:
        with within(READ_SECONDS, path.name):
            meshes = surface_of(gltf)
    except UserError:
        raise
    except Exception as error:  # any reader error means the same thing here: a bad file
        raise UserError(f"{path.name} does not load: {type(error).__name__}: {error}") from None
    if not meshes:
        raise UserError(f"{path.name} has no triangles")
    if any(mesh.faces.max() >= len(mesh.vertices) for mesh in meshes):
        raise UserError(f"{path.name} has faces of vertices that are not there; export it again")
    corners = np.concatenate([mesh.vertices[np.unique(mesh.faces)] for mesh in meshes])
    if not np.isfinite(corners).all():
        raise UserError(f"{path.name} has coordinates that are not finite")
    if float(np.ptp(corners, axis=0).max()) <= 0:
        raise UserError(f"{path.name} is a single point")
    return sum(len(mesh.faces) for mesh in meshes)
