"""Reading and writing meshes in the project's frame: z up, the input view on the -y axis.

A GLB (or glTF) is y up: its (x, y, z) is our (x, -z, y), and its front, +z, is our -y. OBJ and PLY have no
up axis of their own and are taken as they are, z up. Colours in memory are sRGB as in images; glTF keeps the
colours of vertices and materials linear, and is converted on the way.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from aligncvc.errors import UserError
from aligncvc.files import atomic_path

FORMATS = (".glb", ".gltf", ".obj", ".ply")

Y_UP_TO_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""glTF -> ours: (x, y, z) -> (x, -z, y)."""

FLOAT, UINT16, UINT32, ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 5126, 5123, 5125, 34962, 34963


def to_linear(srgb: NDArray[Any]) -> NDArray[np.float64]:
    """sRGB in [0, 1] -> linear in [0, 1] (IEC 61966-2-1)."""
    values = np.asarray(srgb, np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: NDArray[Any]) -> NDArray[np.float64]:
    """Linear in [0, 1] -> sRGB in [0, 1]."""
    values = np.clip(np.asarray(linear, np.float64), 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def save_glb(path: Path | str, mesh: trimesh.Trimesh) -> None:
    """Write a mesh with vertex colours as GLB, y up, atomically; the bytes depend on the mesh alone.

    Unlit (KHR_materials_unlit): the colours are those of the object as seen, light included. A texture
    becomes vertex colours. Raises ValueError for a mesh without faces.
    """
    if not len(mesh.faces):
        raise ValueError("a mesh without faces cannot be a GLB")
    turn = Y_UP_TO_Z_UP[:3, :3]  # ours -> glTF is its transpose: rows times the matrix
    visual = mesh.visual if isinstance(mesh.visual, ColorVisuals) else mesh.visual.to_color()
    rgba = visual.vertex_colors.astype(np.float64) / 255
    colours = np.concatenate([to_linear(rgba[:, :3]), rgba[:, 3:]], 1)
    arrays: list[tuple[NDArray[Any], dict[str, Any], int]] = [
        (
            (mesh.vertices @ turn).astype("<f4"),
            {"componentType": FLOAT, "type": "VEC3", "min": [], "max": []},
            ARRAY_BUFFER,
        ),
        ((mesh.vertex_normals @ turn).astype("<f4"), {"componentType": FLOAT, "type": "VEC3"}, ARRAY_BUFFER),
        (
            (colours * 65535).round().astype("<u2"),
            {"componentType": UINT16, "type": "VEC4", "normalized": True},
            ARRAY_BUFFER,
        ),
        (
            mesh.faces.reshape(-1).astype("<u4"),
            {"componentType": UINT32, "type": "SCALAR"},
            ELEMENT_ARRAY_BUFFER,
        ),
    ]
    blob, views, accessors = b"", [], []
    for values, accessor, target in arrays:
        if "min" in accessor:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        data = values.tobytes()
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(data), "target": target})
        accessors.append({"bufferView": len(accessors), "count": len(values), **accessor})
        blob += data + b"\0" * (-len(data) % 4)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_container(_document(views, accessors, len(blob)), blob))


def _document(views: list[dict[str, Any]], accessors: list[dict[str, Any]], length: int) -> dict[str, Any]:
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}
    return {
        "asset": {"version": "2.0", "generator": "aligncvc"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "model"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [
            {
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "bufferViews": views,
        "accessors": accessors,
        "buffers": [{"byteLength": length}],
    }


def _container(document: dict[str, Any], blob: bytes) -> bytes:
    """GLB: header, JSON chunk padded with spaces, binary chunk (Khronos glTF 2.0, section 4.4)."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def load_mesh(path: Path | str, *, colours: bool = True) -> trimesh.Trimesh:
    """Read a mesh into the project's frame, all parts in one; z up for OBJ and PLY, y up for GLB and glTF.

    A single part keeps its texture; of several, texture atlases are packed by trimesh. colours: False leaves
    colours out (faster). Vertex colours of a GLB are linear as glTF says, unless trimesh wrote the file,
    which puts sRGB there. Raises UserError for a file that is missing, unreadable or without triangles.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} is not of a known mesh format; give one of {', '.join(FORMATS)}")
    is_gltf = path.suffix.lower() in (".glb", ".gltf")
    try:
        scene = trimesh.load_scene(path, process=False)
        parts = [p for p in scene.dump() if isinstance(p, trimesh.Trimesh) and len(p.faces)]
    except Exception as error:  # trimesh's readers raise anything from struct.error to AttributeError
        raise UserError(f"{path} is not a readable mesh ({error!r}); export it again") from error
    if not parts or not all(np.isfinite(part.vertices).all() for part in parts):
        raise UserError(f"{path} holds no triangles with finite vertices; export it again")
    if is_gltf and colours and "trimesh" not in str(scene.metadata.get("asset", {}).get("generator", "")):
        for part in parts:
            _decode_vertex_colours(part)
    mesh = _joined(parts, colours)
    if is_gltf:
        mesh.apply_transform(Y_UP_TO_Z_UP)
    return mesh


def _decode_vertex_colours(part: trimesh.Trimesh) -> None:
    """Linear vertex colours, as glTF keeps them, become sRGB."""
    if isinstance(part.visual, ColorVisuals) and part.visual.kind == "vertex":
        rgba = part.visual.vertex_colors.astype(np.float64) / 255
        rgba[:, :3] = to_srgb(rgba[:, :3])
        part.visual = ColorVisuals(part, vertex_colors=(rgba * 255).round().astype(np.uint8))


def _joined(parts: list[trimesh.Trimesh], colours: bool) -> trimesh.Trimesh:
    """All parts in one mesh; materials without an image become vertex colours."""
    if not colours:
        counts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
        faces = np.concatenate([p.faces + start for p, start in zip(parts, counts, strict=True)])
        return trimesh.Trimesh(np.concatenate([p.vertices for p in parts]), faces, process=False)
    for part in parts:
        if isinstance(part.visual, TextureVisuals) and texture_of(part) is None:
            flat = np.tile((factor_of(part) * 255).round().astype(np.uint8), (len(part.vertices), 1))
            part.visual = ColorVisuals(part, vertex_colors=flat)
    return parts[0] if len(parts) == 1 else trimesh.util.concatenate(parts)


def texture_of(mesh: trimesh.Trimesh) -> NDArray[np.float32] | None:
    """The base colour image, (H, W, 4) sRGB in [0, 1], or None without an image or texture coordinates."""
    material = getattr(mesh.visual, "material", None)
    if material is None or getattr(mesh.visual, "uv", None) is None:
        return None
    image = (
        material.baseColorTexture if isinstance(material, PBRMaterial) else getattr(material, "image", None)
    )
    return None if image is None else np.asarray(image.convert("RGBA"), np.float32) / 255


def factor_of(mesh: trimesh.Trimesh) -> NDArray[np.float64]:
    """(4,) sRGB colour of a mesh's material in [0, 1], white where it has none."""
    material = getattr(mesh.visual, "material", None)
    if isinstance(material, PBRMaterial):
        factor = (
            np.ones(4) if material.baseColorFactor is None else np.asarray(material.baseColorFactor) / 255.0
        )
        return np.concatenate([to_srgb(factor[:3]), factor[3:]])  # linear in glTF
    diffuse = getattr(material, "diffuse", None)
    return np.ones(4) if diffuse is None else np.asarray(diffuse, np.float64) / 255
