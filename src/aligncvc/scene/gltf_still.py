"""A glTF document made one still object, which Blender draws as trimesh measures it.

Taken away is what the two understand differently. What is left is the default scene alone, in the pose that
the nodes say. Skins and morph targets are baked into the vertices, quantised coordinates become floats, and
vertex colours without a material get one. Most files need nothing of it.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from aligncvc.scene.glb import FLOAT
from aligncvc.scene.gltf import Floats, Gltf


def make_still(gltf: Gltf) -> bool:
    """Leave one still object, equal to every reader; whether anything had to change."""
    before = copy.deepcopy(gltf.document)
    gltf.document.pop("animations", None)
    _keep_one_scene(gltf)
    for primitive in (p for mesh in gltf.entries("meshes") for p in mesh["primitives"]):
        _unquantise(gltf, primitive["attributes"])
    for node in list(gltf.entries("nodes")):
        if "mesh" in node:
            _bake(gltf, node)
    gltf.document.pop("skins", None)
    for primitive in (p for mesh in gltf.entries("meshes") for p in mesh["primitives"]):
        if "material" not in primitive and "COLOR_0" in primitive["attributes"]:
            materials = gltf.document.setdefault("materials", [])
            primitive["material"] = len(materials)
            materials.append({"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0}})
    return gltf.document != before


def _keep_one_scene(gltf: Gltf) -> None:
    scenes, nodes = gltf.entries("scenes"), gltf.entries("nodes")
    if not scenes:
        return
    kept = scenes[gltf.document.get("scene", 0)]
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
        gltf.document |= {"scenes": [kept], "scene": 0}


def _unquantise(gltf: Gltf, attributes: dict[str, int]) -> None:
    for name, index in attributes.items():
        if name in ("POSITION", "NORMAL") or name.startswith("TEXCOORD"):
            entry = gltf.document["accessors"][index]
            if entry.get("normalized") and entry["componentType"] != FLOAT:
                gltf.document["accessors"][index] = gltf.stored(gltf.values(index))


def _bake(gltf: Gltf, node: dict[str, Any]) -> None:
    """Give a node whose mesh is skinned or morphed a mesh of its own that is neither."""
    mesh = gltf.document["meshes"][node["mesh"]]
    weights = np.asarray(node.get("weights") or mesh.get("weights") or [], np.float64)
    skin = node.get("skin")
    if skin is None and not weights.any():
        return
    still = [_still(gltf, primitive, weights, skin) for primitive in mesh["primitives"]]
    gltf.document["meshes"].append({"primitives": still})
    index = len(gltf.document["meshes"]) - 1
    node.pop("weights", None)
    if skin is None:
        node["mesh"] = index
        return
    del node["mesh"], node["skin"]  # where the node stands does not matter: the joints do
    gltf.document["nodes"].append({"mesh": index})
    for scene in gltf.entries("scenes"):
        scene.setdefault("nodes", []).append(len(gltf.document["nodes"]) - 1)


def _still(gltf: Gltf, primitive: dict[str, Any], weights: Floats, skin: int | None) -> dict[str, Any]:
    attributes = dict(primitive["attributes"])
    matrices = None if skin is None else _blended(gltf, attributes, gltf.entries("skins")[skin])
    for name in {"POSITION", "NORMAL"} & attributes.keys():
        values = gltf.values(attributes[name])
        for weight, target in zip(weights, primitive.get("targets", []), strict=False):
            if weight and name in target:
                values = values + weight * gltf.values(target[name])
        if matrices is not None:
            values = np.einsum("vij,vj->vi", matrices[:, :3, :3], values)
            values = values + matrices[:, :3, 3] if name == "POSITION" else values
        if name == "NORMAL":
            values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        gltf.document["accessors"].append(gltf.stored(values))
        attributes[name] = len(gltf.document["accessors"]) - 1
    gone = ("JOINTS_", "WEIGHTS_", "TANGENT")
    kept = {name: index for name, index in attributes.items() if not name.startswith(gone)}
    return {**{k: v for k, v in primitive.items() if k != "targets"}, "attributes": kept}


def _blended(gltf: Gltf, attributes: dict[str, int], skin: dict[str, Any]) -> Floats:
    """(V, 4, 4) from each vertex' place in the file to the one that its joints give it."""
    world = _world(gltf)
    poses = np.stack([world[joint] for joint in skin["joints"]])
    if "inverseBindMatrices" in skin:
        poses = poses @ gltf.values(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    count = gltf.document["accessors"][attributes["POSITION"]]["count"]
    summed, total = np.zeros((count, 4, 4)), np.zeros((count, 1, 1))
    for name in sorted(name for name in attributes if name.startswith("JOINTS_")):
        joints = gltf.values(attributes[name]).astype(np.int64)
        shares = gltf.values(attributes[name.replace("JOINTS_", "WEIGHTS_")])
        for joint, share in zip(joints.T, shares.T, strict=True):
            summed += share[:, None, None] * poses[joint]
            total += share[:, None, None]
    return np.where(total > 0, summed / np.where(total > 0, total, 1), np.eye(4))


def _world(gltf: Gltf) -> dict[int, Floats]:
    """Matrix (4, 4) of each node in the scene."""
    nodes = gltf.entries("nodes")
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
