"""One reading of a glTF file for all who read it: Blender draws what trimesh measures.

`Gltf.simplify` takes away what the two understand differently and leaves a still object: the default scene
alone, the pose that the nodes say, skins and morph targets baked into the vertices, floats for quantised
coordinates, and a material wherever vertex colours would have none. Most files need nothing of it.
"""

from __future__ import annotations

import base64
import binascii
import copy
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

    def _list(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document.get(key) or []
        return found

    def _embed(self, folder: Path) -> bool:
        """Take in buffers and pictures that lie in other files or in the JSON."""
        buffers, pictures = self._list("buffers"), [p for p in self._list("images") if "uri" in p]
        if not pictures and not any("uri" in buffer for buffer in buffers):
            return False
        own, self.blob, starts = bytes(self.blob), bytearray(), []
        for buffer in buffers:
            starts.append(self._append(self._named(folder, buffer["uri"]) if "uri" in buffer else own))
        for view in self._list("bufferViews"):
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

    def _floats(self, values: Floats) -> dict[str, Any]:
        """A new accessor (not yet in the list) with values (N, 2 or 3)."""
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
        for name in sorted(set(self._list("extensionsRequired")) - known):  # type: ignore[type-var,arg-type]
            raise UserError(
                f"{self.name} requires the glTF extension {name}, which is not read here; export it without"
            )

    def require_pictures(self) -> None:
        """UserError if a picture that a material wears is missing, broken or of a kind that is not read."""
        textures, pictures = self._list("textures"), self._list("images")
        for index in sorted(set(_textures_of(self._list("materials")))):
            texture = textures[index]
            extensions = texture.get("extensions", {})
            source = extensions.get(WEBP, texture).get("source")
            if source is None:
                asked = ", ".join(extensions) or "no picture"
                raise UserError(
                    f"{self.name} has a texture without a PNG, JPEG or WebP picture ({asked}); export it "
                    "with one"
                )
            view = self._list("bufferViews")[pictures[source]["bufferView"]]
            start = view.get("byteOffset", 0)
            fault = picture_fault(bytes(self.blob[start : start + view["byteLength"]]))
            if fault is not None:
                raise UserError(f"{self.name} has a broken texture ({fault}); export it again")

    def simplify(self) -> bool:
        """Leave one still object, equal to every reader; whether anything had to change."""
        before = copy.deepcopy(self.document)
        self.document.pop("animations", None)
        self._keep_one_scene()
        for primitive in (p for mesh in self._list("meshes") for p in mesh["primitives"]):
            self._unquantise(primitive["attributes"])
        for node in list(self._list("nodes")):
            if "mesh" in node:
                self._bake(node)
        self.document.pop("skins", None)
        for primitive in (p for mesh in self._list("meshes") for p in mesh["primitives"]):
            if "material" not in primitive and "COLOR_0" in primitive["attributes"]:
                materials = self.document.setdefault("materials", [])
                primitive["material"] = len(materials)
                materials.append({"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0}})
        return self.document != before

    def _keep_one_scene(self) -> None:
        scenes, nodes = self._list("scenes"), self._list("nodes")
        if not scenes:
            return
        kept = scenes[self.document.get("scene", 0)]
        seen, waiting = set(), list(kept.get("nodes", []))
        while waiting:
            if (index := waiting.pop()) not in seen:
                seen.add(index)
                waiting += nodes[index].get("children", [])
        for index, node in enumerate(nodes):
            if index not in seen:
                node.pop("mesh", None)
                node.pop("skin", None)
        if len(scenes) > 1:
            self.document |= {"scenes": [kept], "scene": 0}

    def _unquantise(self, attributes: dict[str, int]) -> None:
        for name, index in attributes.items():
            if name in ("POSITION", "NORMAL") or name.startswith("TEXCOORD"):
                entry = self.document["accessors"][index]
                if entry.get("normalized") and entry["componentType"] != FLOAT:
                    self.document["accessors"][index] = self._floats(self.values(index))

    def _bake(self, node: dict[str, Any]) -> None:
        """Give a node whose mesh is skinned or morphed a mesh of its own that is neither."""
        mesh = self.document["meshes"][node["mesh"]]
        weights = np.asarray(node.get("weights") or mesh.get("weights") or [], np.float64)
        skin = node.get("skin")
        if skin is None and not weights.any():
            return
        still = [self._still(primitive, weights, skin) for primitive in mesh["primitives"]]
        self.document["meshes"].append({"primitives": still})
        index = len(self.document["meshes"]) - 1
        node.pop("weights", None)
        if skin is None:
            node["mesh"] = index
            return
        del node["mesh"], node["skin"]  # where the node stands does not matter: the joints do
        self.document["nodes"].append({"mesh": index})
        for scene in self._list("scenes"):
            scene.setdefault("nodes", []).append(len(self.document["nodes"]) - 1)

    def _still(self, primitive: dict[str, Any], weights: Floats, skin: int | None) -> dict[str, Any]:
        attributes = dict(primitive["attributes"])
        matrices = None if skin is None else self._blended(attributes, self._list("skins")[skin])
        for name in {"POSITION", "NORMAL"} & attributes.keys():
            values = self.values(attributes[name])
            for weight, target in zip(weights, primitive.get("targets", []), strict=False):
                if weight and name in target:
                    values = values + weight * self.values(target[name])
            if matrices is not None:
                values = np.einsum("vij,vj->vi", matrices[:, :3, :3], values)
                values = values + matrices[:, :3, 3] if name == "POSITION" else values
            if name == "NORMAL":
                values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
            self.document["accessors"].append(self._floats(values))
            attributes[name] = len(self.document["accessors"]) - 1
        gone = ("JOINTS_", "WEIGHTS_", "TANGENT")
        kept = {name: index for name, index in attributes.items() if not name.startswith(gone)}
        return {**{k: v for k, v in primitive.items() if k != "targets"}, "attributes": kept}

    def _blended(self, attributes: dict[str, int], skin: dict[str, Any]) -> Floats:
        """(V, 4, 4) from each vertex' place in the file to the one that its joints give it."""
        world = self._world()
        poses = np.stack([world[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            poses = poses @ self.values(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        count = self.document["accessors"][attributes["POSITION"]]["count"]
        summed, total = np.zeros((count, 4, 4)), np.zeros((count, 1, 1))
        for name in sorted(name for name in attributes if name.startswith("JOINTS_")):
            joints = self.values(attributes[name]).astype(np.int64)
            shares = self.values(attributes[name.replace("JOINTS_", "WEIGHTS_")])
            for joint, share in zip(joints.T, shares.T, strict=True):
                summed += share[:, None, None] * poses[joint]
                total += share[:, None, None]
        return np.where(total > 0, summed / np.where(total > 0, total, 1), np.eye(4))

    def _world(self) -> dict[int, Floats]:
        """Matrix (4, 4) of each node in the scene."""
        nodes = self._list("nodes")
        children = {child for node in nodes for child in node.get("children", [])}
        world = {index: _local(node) for index, node in enumerate(nodes) if index not in children}
        waiting = list(world)
        while waiting:
            parent = waiting.pop()
            for child in nodes[parent].get("children", []):
                if child not in world:
                    world[child] = world[parent] @ _local(nodes[child])
                    waiting.append(child)
        return world


def _local(node: dict[str, Any]) -> Floats:
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(turn) * node.get("scale", (1, 1, 1))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _textures_of(thing: Any) -> Iterator[int]:
    """Indices of the textures that materials name, extensions included."""
    for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
        if str(key).endswith("Texture") and isinstance(value, dict) and "index" in value:
            yield value["index"]
        if isinstance(value, (dict, list)):
            yield from _textures_of(value)
