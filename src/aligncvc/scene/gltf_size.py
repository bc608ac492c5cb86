"""How much a glTF document asks for, by what it declares: before a reader makes room for it."""

from __future__ import annotations

import contextlib
from typing import Any

from aligncvc import limits
from aligncvc.errors import UserError

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


def require_modest(document: dict[str, Any], name: str) -> None:
    """UserError if the values that a document declares, or what its scenes draw, are beyond the limits.

    A node that several others show, or a mesh, counts as often as it is drawn. name: what messages call it.
    """
    with contextlib.suppress(TypeError, ValueError, AttributeError):  # broken: its reader says what is wrong
        accessors = document.get("accessors") or []
        counts = [max(0, int(entry.get("count", 0))) for entry in accessors]
        widths = (WIDTHS.get(str(entry.get("type")), 1) for entry in accessors)
        if sum(count * width for count, width in zip(counts, widths, strict=True)) > limits.VALUES:
            raise UserError(f"{name} declares more than {limits.VALUES:,} values; simplify it")
        if _too_much(document, _vertices(document, counts)):
            raise UserError(
                f"{name} draws more than {limits.VERTICES:,} vertices or {limits.NODES:,} nodes; simplify it"
            )


def _vertices(document: dict[str, Any], counts: list[int]) -> list[int]:
    """Of each mesh. counts: of the accessors."""
    found = []
    for mesh in document.get("meshes") or []:
        parts = [part.get("attributes", {}).get("POSITION", -1) for part in mesh.get("primitives", [])]
        found.append(sum(counts[part] for part in parts if 0 <= part < len(counts)))
    return found


def _too_much(document: dict[str, Any], vertices: list[int]) -> bool:
    """Whether walking the scenes passes the limits. It ends there, also where nodes show each other."""
    nodes = document.get("nodes") or []
    scenes = document.get("scenes") or [{"nodes": range(len(nodes))}]
    waiting = [node for scene in scenes for node in scene.get("nodes", [])]
    visited = drawn = 0
    while waiting and visited <= limits.NODES and drawn <= limits.VERTICES:
        index = waiting.pop()
        node = nodes[index] if 0 <= index < len(nodes) else {}
        waiting += node.get("children", [])
        visited += 1
        drawn += vertices[node["mesh"]] if 0 <= node.get("mesh", -1) < len(vertices) else 0
    return visited > limits.NODES or drawn > limits.VERTICES
