"""One reading of a glTF file for all who read it: Blender draws what trimesh measures."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from aligncvc import limits
from aligncvc.errors import UserError
from aligncvc.scene.glb import FLOAT, MAGIC, container
from aligncvc.scene.gltf_size import WIDTHS, require_modest
from aligncvc.scene.pictures import picture_fault

Floats = NDArray[np.float64]
TEXTURE_TRANSFORM, WEBP = "KHR_texture_transform", "EXT_texture_webp"
READ = {
    "KHR_animation_pointer", "KHR_lights_punctual", "KHR_mesh_quantization", TEXTURE_TRANSFORM, WEBP,
    "KHR_materials_anisotropy", "KHR_materials_clearcoat", "KHR_materials_emissive_strength",
    "KHR_materials_ior", "KHR_materials_pbrSpecularGlossiness", "KHR_materials_sheen",
    "KHR_materials_specular", "KHR_materials_transmission", "KHR_materials_unlit",
    "KHR_materials_variants", "KHR_materials_volume",
}  # fmt: skip
"""Extensions that a file may require: Blender's importer knows them, and the surface needs none."""
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", FLOAT: "<f4"}


class Gltf:
    """A glTF document with all its bytes in one blob.

    name: what error messages call it. took_in: whether the file names others.
    """

    def __init__(self, document: dict[str, Any], blob: bytes, name: str, folder: Path) -> None:
        self.document, self.blob, self.name = document, bytearray(blob), name
        self.took_in = self._embed(folder)

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> Gltf:
        """Read a .glb or .gltf file and the files that it names.

        UserError if it is cut, if one is missing, or if it asks for more than `aligncvc.limits` allow.
        """
        name = name or path.name
        data = limits.read_file(path) if path.exists() else b""
        blob = b""
        if path.suffix.lower() != ".gltf":
            if len(data) < 20 or data[:4] != MAGIC:
                raise UserError(f"{name} is not a GLB file (no glTF header); export it again")
            declared, length = struct.unpack_from("<II", data, 8)
            if declared != len(data):
                raise UserError(f"{name} is cut short: {len(data)} of {declared} bytes; export it again")
            data, blob = data[20 : 20 + length], data[28 + length :]
        try:
            document = json.loads(data)
            if not isinstance(document, dict):
                raise ValueError("it is no JSON object")
        except ValueError as error:
            raise UserError(
                f"{name} does not load: {type(error).__name__}: {error}; export it again"
            ) from None
        found = cls(document, blob, name, path.parent)
        require_modest(found.document, found.name)
        return found

    def to_bytes(self) -> bytes:
        """As a GLB."""
        chunk = bytes(self.blob) + b"\0" * (-len(self.blob) % 4)
        return container(self.document, struct.pack("<I4s", len(chunk), b"BIN\0") + chunk)

    def entries(self, key: str) -> list[dict[str, Any]]:
        """A list of the document; empty where it has none."""
        found: list[dict[str, Any]] = self.document.get(key) or []
        return found

    def _embed(self, folder: Path) -> bool:
        """Take in buffers and pictures that lie in other files or in the JSON."""
        buffers, pictures = self.entries("buffers"), [p for p in self.entries("images") if "uri" in p]
        if not pictures and not any("uri" in buffer for buffer in buffers):
            return False
        own, self.blob, starts = bytes(self.blob), bytearray(), []
        for buffer in buffers:
            starts.append(self._append(self._named(folder, buffer["uri"]) if "uri" in buffer else own))
        for view in self.entries("bufferViews"):
            view["byteOffset"] = view.get("byteOffset", 0) + starts[view["buffer"]]
            view["buffer"] = 0
        for picture in pictures:
            data = self._named(folder, picture.pop("uri"))
            kind = "png" if data[:4] == b"\x89PNG" else "webp" if data[8:12] == b"WEBP" else "jpeg"
            picture |= {"bufferView": self._view(data), "mimeType": picture.get("mimeType", f"image/{kind}")}
        self.document["buffers"] = [{"byteLength": len(self.blob)}]
        return True

    def _named(self, folder: Path, uri: str) -> bytes:
        try:
            if uri.startswith("data:"):
                return base64.b64decode(uri.partition(",")[2])
            path = (folder / unquote(uri)).resolve()
            if not path.is_relative_to(folder.resolve().parent):
                raise UserError(
                    f"{self.name} names the file {uri[:80]}, which lies elsewhere; put it beside the model"
                )
            return limits.read_file(path)
        except (OSError, ValueError, binascii.Error):
            raise UserError(
                f"{self.name} names the file {uri[:80]}, which is not there; put it there, or export with "
                "everything in one file"
            ) from None

    def _append(self, data: bytes) -> int:
        start = len(self.blob)
        self.blob += data + b"\0" * (-len(data) % 4)
        return start

    def _view(self, data: bytes) -> int:
        entry = {"buffer": 0, "byteOffset": self._append(data), "byteLength": len(data)}
        self.document.setdefault("bufferViews", []).append(entry)
        self.document["buffers"] = [{"byteLength": len(self.blob)}]
        return len(self.document["bufferViews"]) - 1

    def stored(self, values: Floats) -> dict[str, Any]:
        """Take values (N, 2 or 3) into the blob; their accessor, which is not yet in the list."""
        data = np.ascontiguousarray(values, "<f4")
        about = {"componentType": FLOAT, "count": len(data), "type": f"VEC{data.shape[1]}"}
        bounds = {"min": data.min(0).tolist(), "max": data.max(0).tolist()} if len(data) else {}
        return {"bufferView": self._view(data.tobytes()), **about, **bounds}

    def values(self, index: int) -> Floats:
        """(N, width) values of an accessor; normalised integers as fractions of their range."""
        entry = self.document["accessors"][index]
        kind, width, count = (
            np.dtype(COMPONENTS[entry["componentType"]]),
            WIDTHS[entry["type"]],
            entry["count"],
        )
        out = np.zeros((count, width), kind)
        if "bufferView" in entry:
            out[:] = self._array(entry, kind, width, count)
        if "sparse" in entry:
            sparse = entry["sparse"]
            at = np.dtype(COMPONENTS[sparse["indices"]["componentType"]])
            where = self._array(sparse["indices"], at, 1, sparse["count"])[:, 0]
            out[where] = self._array(sparse["values"], kind, width, sparse["count"])
        if entry.get("normalized") and kind.kind in "iu":
            return np.maximum(out.astype(np.float64) / np.iinfo(kind).max, -1)
        return out.astype(np.float64)

    def _array(self, entry: dict[str, Any], kind: np.dtype[Any], width: int, count: int) -> NDArray[Any]:
        view = self.document["bufferViews"][entry["bufferView"]]
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        strides = (view.get("byteStride") or kind.itemsize * width, kind.itemsize)
        return np.ndarray((count, width), kind, self.blob, start, strides)

    def require_known(self, known: set[str] = READ) -> None:
        """UserError if the file requires an extension that is not read here."""
        for name in sorted(set(self.entries("extensionsRequired")) - known):  # type: ignore[type-var,arg-type]
            raise UserError(
                f"{self.name} requires the glTF extension {name}, which is not read here; export it without"
            )

    def require_pictures(self) -> None:
        """UserError if a picture that a material wears is missing, broken or of a kind that is not read."""
        textures, pictures = self.entries("textures"), self.entries("images")
        for index in sorted(set(_textures_of(self.entries("materials")))):
            texture = textures[index]
            extensions = texture.get("extensions", {})
            source = extensions.get(WEBP, texture).get("source")
            if source is None:
                asked = ", ".join(extensions) or "no picture"
                raise UserError(
                    f"{self.name} has a texture without a PNG, JPEG or WebP picture ({asked}); export it "
                    "with one"
                )
            view = self.entries("bufferViews")[pictures[source]["bufferView"]]
            start = view.get("byteOffset", 0)
            fault = picture_fault(bytes(self.blob[start : start + view["byteLength"]]))
            if fault is not None:
                raise UserError(f"{self.name} has a broken texture ({fault}); export it again")


def _textures_of(thing: Any) -> Iterator[int]:
    """Indices of the textures that materials name, extensions included."""
    for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
        if str(key).endswith("Texture") and isinstance(value, dict) and "index" in value:
            yield value["index"]
        if isinstance(value, (dict, list)):
            yield from _textures_of(value)
