"""Objects made on the spot, and what the render tests share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

from aligncvc.config.jobs.render import RenderJob
from aligncvc.config.objects import Render

SPHERES = {  # glTF coordinates (y up): centre, radius, colour; no symmetry anywhere
    "red": ((1.0, 0.2, 0.3), 0.45, (200, 20, 20)),
    "green": ((-0.8, 0.1, 0.5), 0.35, (20, 180, 20)),
    "blue": ((0.1, 1.1, -0.4), 0.40, (20, 20, 200)),
    "yellow": ((-0.2, -0.6, -0.9), 0.30, (200, 200, 10)),
}


def sphere_glb() -> bytes:
    """The coloured spheres, placed by node transforms so that the hierarchy is exercised too."""
    scene = trimesh.Scene()
    for name, (centre, radius, colour) in SPHERES.items():
        mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        mesh.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial(
            baseColorFactor=[*colour, 255], metallicFactor=0.0, roughnessFactor=1.0))  # fmt: skip
        mesh.vertex_normals  # noqa: B018  (computed on access, then exported: smooth shading)
        scene.add_geometry(mesh, node_name=name, transform=trimesh.transformations.translation_matrix(centre))
    return scene.export(file_type="glb", include_normals=True)


def box_glb() -> bytes:
    mesh = trimesh.creation.box(extents=(1.0, 0.3, 0.7))
    mesh.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial(
        baseColorFactor=[230, 140, 60, 255], metallicFactor=0.0, roughnessFactor=0.9))  # fmt: skip
    return trimesh.Scene(mesh).export(file_type="glb")


def write_manifest(folder: Path, files: dict[str, bytes], failed: dict[str, str] | None = None,
                   wrong_hash: tuple[str, ...] = ()) -> Path:  # fmt: skip
    """An objects manifest with these GLBs, in the objects stage's format."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id\tpath\tsha256\tlicence\tcreator\tsource\tsplit\tstatus\treason"]
    for name, data in files.items():
        (folder / f"{name}.glb").write_bytes(data)
        digest = "0" * 64 if name in wrong_hash else hashlib.sha256(data).hexdigest()
        lines.append(f"{name}\t{name}.glb\t{digest}\tCC0-1.0\tA. Maker\ttest\ttrain\tok\t")
    for name, reason in (failed or {}).items():
        lines.append(f"{name}\t\t\tCC0-1.0\tA. Maker\ttest\ttrain\tfailed\t{reason}")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "manifest.tsv"


def small_job(looks: int = 1, **render: object) -> RenderJob:
    settings = {"ring_views": 8, "samples": 4, "max_failure_rate": 0.9, **render}
    return RenderJob(set="test", render=Render.model_validate(settings), looks=looks)


@dataclass(frozen=True)
class Rendered:
    job: RenderJob
    manifest: Path
    out: Path


def files_of(folder: Path) -> dict[str, str]:
    """Hash of every file of an object folder that must repeat to the bit (its status holds a duration)."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.iterdir()) if p.name != "status.json"}  # fmt: skip


def zup(points: np.ndarray) -> np.ndarray:
    """glTF (y up) -> this project's world (z up), (..., 3)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)
