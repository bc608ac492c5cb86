"""Do the pictures show the surface that results are measured against? Two importers read the same file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aligncvc.objects.convert import surface_of
from aligncvc.scene.gltf import Gltf
from aligncvc.scene.triangles import silhouette
from aligncvc.scene.views import Views

MIN_AGREEMENT = 0.95
"""Share of the two silhouettes' union that lies in both, but for a pixel; of equal shapes 0.97 to 1."""
MAX_MISFIT = 0.01
"""How far the surface's centre and size may lie from those that the pictures were normalised to."""
ADVICE = "export it as one still mesh in one scene, without skin, morph targets or instances"


def surface_fault(path: Path, views: Views, normalisation: Mapping[str, Any], in_cube: bool) -> str | None:
    """Why a GLB's surface is not what its views show, or None.

    Compared are the surface's extent, and its silhouette in one view between the front and the side. Parts
    of a surface with transparent materials may be unseen, and so may what is thinner than three pixels.
    """
    gltf = Gltf.read(path)
    meshes = surface_of(gltf)
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
    x, y, z = np.concatenate([mesh.vertices for mesh in meshes]).T
    vertices = _normalised(np.stack([x, -z, y], 1), normalisation)
    extent = vertices[np.unique(faces)]
    low, high = extent.min(0), extent.max(0)
    size = float((high - low).max() if in_cube else np.linalg.norm(extent, axis=1).max())
    if abs(size - 1) > MAX_MISFIT or float(np.abs(low + high).max()) > 2 * MAX_MISFIT:
        return f"its surface has another size or place than the pictures show; {ADVICE}"
    at = [len(views) // 8]
    shown = views.alpha[at]
    drawn = torch.from_numpy(silhouette(vertices, faces, views.cameras[at]))[None]
    beyond = (shown > 0.5) & ~_around(drawn)
    unseen = ~_around(~drawn) & ~_around(shown)  # thin parts fall between the renderer's samples
    if any(m.get("alphaMode", "OPAQUE") != "OPAQUE" for m in gltf.document.get("materials", [])):
        unseen &= False
    union = int(((shown > 0.5) | drawn).sum())
    agreement = 1 - int((beyond | unseen).sum()) / max(union, 1)
    if agreement < MIN_AGREEMENT:
        return f"its surface and its pictures show different shapes (they agree by {agreement:.0%}); {ADVICE}"
    return None


def _normalised(points: NDArray[np.float64], normalisation: Mapping[str, Any]) -> NDArray[np.float64]:
    """(N, 3) points of the file, z up, where `Scene._load` puts them."""
    angle = np.radians(normalisation["heading_deg"])
    cos, sin = np.cos(angle), np.sin(angle)
    turned = points * normalisation["stretch"] @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    moved: NDArray[np.float64] = normalisation["scale"] * turned + normalisation["offset"]
    return moved


def _around(alpha: torch.Tensor) -> torch.Tensor:
    """Pixels that are touched, or beside one: the renderer's filter is as broad as a pixel."""
    return torch.nn.functional.max_pool2d(alpha.float(), 3, 1, 1) > 0.02
