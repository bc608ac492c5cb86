"""The one writer of glTF-binary files (Khronos glTF 2.0, section 4.4), y up; equal parts give equal bytes.

Not a library's export: the bytes (hence the sha256 in the object lists) depend on the mesh alone, without
paths or dates of the machine, and colours stay float (linear, as glTF wants them).
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

from aligncvc.files import atomic_path

MAGIC = b"glTF"
FLOAT, UINT16, UINT32 = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
UNLIT = "KHR_materials_unlit"


def to_linear(srgb: NDArray[Any]) -> NDArray[np.float64]:
    """sRGB in [0, 1] -> linear in [0, 1] (IEC 61966-2-1)."""
    values = np.asarray(srgb, np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: NDArray[Any]) -> NDArray[np.float64]:
    """Linear in [0, 1] -> sRGB in [0, 1]."""
    values = np.clip(np.asarray(linear, np.float64), 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def rgba(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 3) or (N, 4) colours, integers of any width or floats in [0, 1] -> (N, 4) in [0, 1]."""
    values = np.asarray(values)
    top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
    out = np.ones((len(values), 4))
    out[:, : values.shape[1]] = np.clip(values.astype(np.float64) / top, 0, 1)
    return out


@dataclass(frozen=True)
class Material:
    """A diffuse, double-sided glTF material.

    colour: linear RGBA in [0, 1]; texture: encoded image that multiplies it; alpha_mode: "OPAQUE", "MASK"
    (cut-outs such as leaves) or "BLEND" (glass); unlit: the colours are those as seen, light included.
    """

    colour: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 1.0)
    roughness: float = 1.0
    alpha_mode: str = "OPAQUE"
    texture: bytes | None = None
    texture_mime: str = "image/jpeg"
    unlit: bool = False


@dataclass(frozen=True)
class Part:
    """Triangles of one material, y up: positions (V,3), faces (F,3), optional unit normals (V,3), uv (V,2).

    uv: (0, 0) is the texture's upper left corner. colours: linear RGBA (V,4) that multiply the material's.
    """

    positions: NDArray[np.float32]
    faces: NDArray[np.uint32]
    normals: NDArray[np.float32] | None
    uv: NDArray[np.float32] | None
    material: Material
    colours: NDArray[np.float64] | None = None


class _Builder:
    """Collects buffer views and JSON entries; identical materials and textures are stored once."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.images: dict[bytes, dict[str, Any]] = {}
        self.materials: dict[Material, dict[str, Any]] = {}

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, padded to a multiple of four, and return the buffer view's index."""
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data)}
        self.views.append(entry if target is None else {**entry, "target": target})
        self.blob += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, values: NDArray[Any], kind: int, target: int = ARRAY_BUFFER, **more: object) -> int:
        """Append an array (N,) or (N, 2 to 4) of a component type and return its accessor's index."""
        data = np.ascontiguousarray(values, {FLOAT: "<f4", UINT16: "<u2", UINT32: "<u4"}[kind])
        entry = {
            "bufferView": self.view(data.tobytes(), target),
            "componentType": kind,
            "count": len(data),
            "type": "SCALAR" if data.ndim == 1 else f"VEC{data.shape[1]}",
        }
        self.accessors.append({**entry, **more})
        return len(self.accessors) - 1

    def material(self, material: Material) -> int:
        if material not in self.materials:
            self.materials[material] = self._described(material)
        return list(self.materials).index(material)

    def _described(self, material: Material) -> dict[str, Any]:
        surface: dict[str, Any] = {
            "baseColorFactor": [round(float(c), 6) for c in material.colour],
            "metallicFactor": 0.0,
            "roughnessFactor": round(float(material.roughness), 4),
        }
        image = material.texture
        if image is not None:
            if image not in self.images:
                self.images[image] = {"bufferView": self.view(image), "mimeType": material.texture_mime}
            surface["baseColorTexture"] = {"index": list(self.images).index(image)}
        entry: dict[str, Any] = {"doubleSided": True, "pbrMetallicRoughness": surface}
        if material.alpha_mode != "OPAQUE":
            entry["alphaMode"] = material.alpha_mode
        if material.unlit:
            entry["extensions"] = {UNLIT: {}}
        return entry

    def primitive(self, part: Part) -> dict[str, Any]:
        positions = np.ascontiguousarray(part.positions, "<f4")
        bounds = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
        attributes = {"POSITION": self.accessor(positions, FLOAT, **bounds)}
        for name, values in (("NORMAL", part.normals), ("TEXCOORD_0", part.uv)):
            if values is not None:
                attributes[name] = self.accessor(values, FLOAT)
        if part.colours is not None:
            attributes["COLOR_0"] = self.accessor((part.colours * 65535).round(), UINT16, normalized=True)
        width = UINT16 if len(part.positions) < 65535 else UINT32
        return {
            "attributes": attributes,
            "indices": self.accessor(part.faces.reshape(-1), width, ELEMENT_ARRAY_BUFFER),
            "material": self.material(part.material),
        }


def glb_bytes(parts: Sequence[Part]) -> bytes:
    """Encode parts as one mesh in one node. ValueError if there is none."""
    if not parts:
        raise ValueError("no geometry")
    builder = _Builder()
    primitives = [builder.primitive(part) for part in parts]
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "aligncvc"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"primitives": primitives}],
        "materials": list(builder.materials.values()),
        "accessors": builder.accessors,
        "bufferViews": builder.views,
        "buffers": [{"byteLength": len(builder.blob)}],
    }
    if builder.images:
        tree["images"] = list(builder.images.values())
        tree["samplers"] = [{"wrapS": 10497, "wrapT": 10497}]  # repeat, as OBJ's viewers do
        tree["textures"] = [{"source": i, "sampler": 0} for i in range(len(builder.images))]
    if any(part.material.unlit for part in parts):
        tree["extensionsUsed"] = [UNLIT]
    return container(tree, struct.pack("<I4s", len(builder.blob), b"BIN\0") + bytes(builder.blob))


def container(document: dict[str, Any], rest: bytes) -> bytes:
    """Header, JSON chunk padded with spaces, and `rest`: the further chunks."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + rest
    return struct.pack("<4sII", MAGIC, 2, 12 + len(chunks)) + chunks


def write_glb(path: Path | str, parts: Sequence[Part]) -> None:
    """Write parts to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(glb_bytes(parts))
