"""A small deterministic glTF-binary writer and a check that a GLB can be read.

Our own writer rather than a library's export: the bytes (hence the sha256 in the object lists) depend only
on the mesh, colours stay float (linear, as glTF wants them) and no paths or dates of the machine get in.
Format: Khronos glTF 2.0 specification, section 4.4 (GLB).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aligncvc.errors import UserError
from aligncvc.files import atomic_path

MAGIC = b"glTF"
FLOAT, UINT16, UINT32 = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


@dataclass(frozen=True)
class Material:
    """A diffuse, double-sided glTF material.

    colour: linear RGBA in [0, 1]; texture: encoded image bytes multiplied with the colour, or None;
    alpha_mode: "OPAQUE", "MASK" (cut-outs such as leaves) or "BLEND" (glass).
    """

    colour: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 1.0)
    roughness: float = 1.0
    alpha_mode: str = "OPAQUE"
    texture: bytes | None = None
    texture_mime: str = "image/jpeg"


@dataclass(frozen=True)
class Part:
    """Triangles of one material, y up: positions (V,3), faces (F,3), optional unit normals (V,3), uv (V,2).

    uv follows glTF: (0, 0) is the upper left corner of the texture.
    """

    positions: NDArray[np.float32]
    faces: NDArray[np.uint32]
    normals: NDArray[np.float32] | None
    uv: NDArray[np.float32] | None
    material: Material


class _Builder:
    """Collects buffer views and JSON entries; identical materials and textures are stored once."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.images: dict[bytes, int] = {}
        self.image_entries: list[dict[str, Any]] = []
        self.materials: dict[Material, int] = {}
        self.material_entries: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, aligned to four, and return the buffer view's index."""
        self.blob += b"\0" * (-len(self.blob) % 4)
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        self.blob += data
        self.views.append(entry)
        return len(self.views) - 1

    def attribute(self, values: NDArray[np.float32], bounds: bool = False) -> int:
        """Append a vertex attribute (V, 2 or 3) float32 and return its accessor's index."""
        values = np.ascontiguousarray(values, "<f4")
        entry: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), ARRAY_BUFFER),
            "componentType": FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        if bounds:
            entry["min"] = values.min(0).tolist()
            entry["max"] = values.max(0).tolist()
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def indices(self, faces: NDArray[np.uint32], vertices: int) -> int:
        """Append triangle indices, 16 bits wide where they fit."""
        small = vertices < 65535
        data = np.ascontiguousarray(faces.reshape(-1), "<u2" if small else "<u4").tobytes()
        self.accessors.append(
            {
                "bufferView": self.view(data, ELEMENT_ARRAY_BUFFER),
                "componentType": UINT16 if small else UINT32,
                "count": int(faces.size),
                "type": "SCALAR",
            }
        )
        return len(self.accessors) - 1

    def image(self, data: bytes, mime: str) -> int:
        if data not in self.images:
            self.images[data] = len(self.image_entries)
            self.image_entries.append({"bufferView": self.view(data), "mimeType": mime})
        return self.images[data]

    def material(self, material: Material) -> int:
        if material in self.materials:
            return self.materials[material]
        surface: dict[str, Any] = {
            "baseColorFactor": [round(float(c), 6) for c in material.colour],
            "metallicFactor": 0.0,
            "roughnessFactor": round(float(material.roughness), 4),
        }
        if material.texture is not None:
            surface["baseColorTexture"] = {"index": self.image(material.texture, material.texture_mime)}
        entry: dict[str, Any] = {"doubleSided": True, "pbrMetallicRoughness": surface}
        if material.alpha_mode != "OPAQUE":
            entry["alphaMode"] = material.alpha_mode
        self.material_entries.append(entry)
        self.materials[material] = len(self.material_entries) - 1
        return self.materials[material]

    def primitive(self, part: Part) -> dict[str, Any]:
        attributes = {"POSITION": self.attribute(part.positions, bounds=True)}
        if part.normals is not None:
            attributes["NORMAL"] = self.attribute(part.normals)
        if part.uv is not None:
            attributes["TEXCOORD_0"] = self.attribute(part.uv)
        return {
            "attributes": attributes,
            "indices": self.indices(part.faces, len(part.positions)),
            "material": self.material(part.material),
        }


def glb_bytes(parts: Sequence[Part], generator: str = "aligncvc") -> bytes:
    """Encode parts as one mesh in one node. Equal parts give equal bytes. ValueError if there is none."""
    if not parts:
        raise ValueError("no geometry")
    builder = _Builder()
    primitives = [builder.primitive(part) for part in parts]
    builder.blob += b"\0" * (-len(builder.blob) % 4)
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": generator},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"primitives": primitives}],
        "materials": builder.material_entries,
        "accessors": builder.accessors,
        "bufferViews": builder.views,
        "buffers": [{"byteLength": len(builder.blob)}],
    }
    if builder.image_entries:
        tree["images"] = builder.image_entries
        tree["samplers"] = [{"wrapS": 10497, "wrapT": 10497}]  # repeat, as OBJ's viewers do
        tree["textures"] = [{"source": i, "sampler": 0} for i in range(len(builder.image_entries))]
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(builder.blob)
    return b"".join(
        [
            struct.pack("<4sII", MAGIC, 2, total),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(builder.blob), b"BIN\0"),
            bytes(builder.blob),
        ]
    )


def write_glb(path: Path, parts: Sequence[Part]) -> None:
    """Write parts to `path` atomically."""
    data = glb_bytes(parts)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_glb(path: Path) -> int:
    """Read a GLB and return its number of triangles.

    Raises UserError with the reason if it is not a complete GLB, does not load, is empty, flat to a point
    or has coordinates that are not finite.
    """
    import trimesh

    header = path.read_bytes()[:12] if path.is_file() else b""
    if len(header) < 12 or header[:4] != MAGIC:
        raise UserError(f"{path.name} is not a GLB file (no glTF header)")
    declared = struct.unpack("<I", header[8:12])[0]
    if declared != path.stat().st_size:
        raise UserError(f"{path.name} is cut short: {path.stat().st_size} of {declared} bytes")
    try:
        scene = trimesh.load_scene(path, file_type="glb", process=False)
        meshes = [m for m in scene.dump() if isinstance(m, trimesh.Trimesh)]
    except Exception as error:  # any reader error means the same thing here: a bad file
        raise UserError(f"{path.name} does not load: {type(error).__name__}: {error}") from None
    triangles = sum(len(mesh.faces) for mesh in meshes)
    if triangles == 0:
        raise UserError(f"{path.name} has no triangles")
    corners = np.concatenate([mesh.vertices[np.unique(mesh.faces)] for mesh in meshes if len(mesh.faces)])
    if not np.isfinite(corners).all():
        raise UserError(f"{path.name} has coordinates that are not finite")
    if float(np.ptp(corners, axis=0).max()) <= 0:
        raise UserError(f"{path.name} is a single point")
    return triangles
