"""What has to be rendered: the objects manifest, the cameras, and each object's job hash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aligncvc.config.jobs.render import SCENE_VERSION, RenderJob
from aligncvc.config.objects import Render
from aligncvc.errors import UserError
from aligncvc.files import sha256_json
from aligncvc.objects.listing import read_manifest
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.views import split_variant, variant_id
from aligncvc.streams import stream_seed

PIXELS = {"samples", "denoise", "normalisation", "light"}
"""Settings that the scene needs beside the cameras."""


@dataclass(frozen=True)
class SourceObject:
    """One row of the objects manifest. failure: why the objects stage gave it up, or None.

    variant: 0: its own look; n: the nth other one (`appearance`), rendered under the id `variant_id(id, n)`.
    """

    id: str
    path: Path
    sha256: str
    licence: str
    creator: str
    failure: str | None
    variant: int = 0


def read_objects(manifest: Path) -> list[SourceObject]:
    """The rows of the objects stage's manifest.tsv. UserError says what is wrong with it."""
    rows = read_manifest(manifest)
    if not rows:
        raise UserError(f"{manifest} lists no objects; check objects.sets in the configuration")
    unusable = "the objects stage gave no reason"
    reasons = [None if row.status == "ok" else row.reason or unusable for row in rows]
    return [
        SourceObject(row.id, manifest.parent / row.path, row.sha256, row.licence, row.creator, reason)
        for row, reason in zip(rows, reasons, strict=True)
    ]


def with_variants(sources: Sequence[SourceObject], count: int) -> list[SourceObject]:
    """Every object in `count` looks: all the original ones first, then all first variants, and so on."""
    odd = [s.id for s in sources if split_variant(s.id)[1] > 0]
    if count > 1 and odd:
        raise UserError(
            f"the object id {odd[0]!r} ends like a variant's ({variant_id('id', 1)!r}); rename it"
        )
    return [
        replace(source, id=variant_id(source.id, n), variant=n) for n in range(count) for source in sources
    ]


def object_seed(job: RenderJob, source: SourceObject) -> int:
    """Cycles' seed: 31 bits that depend on the root seed and the object, not on order or sharding."""
    return stream_seed(job.seed, "render", source.id) & 0x7FFFFFFF


def look_seed(job: RenderJob, source: SourceObject) -> int | None:
    """Seed of an object's other look; None for its own."""
    return stream_seed(job.seed, "look", source.id) & 0x7FFFFFFF if source.variant else None


def ring_cameras(render: Render) -> Cameras:
    """The evaluation ring: view 0 is the input view, view i stands at azimuth i * 360 / ring_views."""
    azimuths, settings = ring_azimuths_deg(render.ring_views), {"distance", "fov_y_deg", "size_px"}
    return orbit(azimuths, render.elevation_deg, **render.model_dump(include=settings))


def rigs(render: Render) -> dict[str, list[int]]:
    """Named subsets of the stored views, as written to cameras.json."""
    return {"rig": render.rig_indices, "ring": list(range(render.ring_views))}


def require_scene(job: RenderJob) -> None:
    """Raises UserError if the protocol was written for another version of the scene than this one."""
    if job.scene_version not in (None, SCENE_VERSION):
        raise UserError(
            f"the protocol asks for version {job.scene_version} of the scene and this code renders version "
            f"{SCENE_VERSION}; set versions.scene to {SCENE_VERSION} in its file to measure anew, or use the "
            "code of that version"
        )


def renderer_facts(render: Render) -> dict[str, Any]:
    """The settings that decide which pixels are kept (timeouts and thread counts do not)."""
    return {
        "engine": "CYCLES",
        "device": "CPU",
        "scene_version": SCENE_VERSION,
        "noise_threshold": 0.0,
        "view_transform": "Standard",
        **render.model_dump(include=PIXELS | {"crop"}),
    }


def job_hash(job: RenderJob, source: SourceObject) -> str:
    """Equal hashes mean equal renders: source bytes, cameras, settings, seed, scene version."""
    cameras = ring_cameras(job.render)
    return sha256_json(
        {
            "object": source.id,
            "sha256": source.sha256,
            "seed": object_seed(job, source),
            "c2w": cameras.c2w.double().tolist(),
            "fov_y_deg": cameras.fov_y_deg,
            "size_px": cameras.height,
            "rigs": rigs(job.render),
            "renderer": renderer_facts(job.render),
            **({"look": look_seed(job, source)} if source.variant else {}),
            **({"pictures": job.render.pictures.model_dump()} if job.render.pictures else {}),
        }
    )


def blender_job(
    job: RenderJob, sources: Sequence[tuple[int, SourceObject]], threads: int, scratch: Path
) -> dict[str, Any]:
    """The JSON that `blender_scene` reads: plain numbers and absolute paths."""
    cameras = ring_cameras(job.render)
    objects = [
        {"index": i, "path": str(s.path.resolve()), "seed": object_seed(job, s), "look": look_seed(job, s)}
        for i, s in sources
    ]
    return {
        **vars(cameras),
        "c2w": cameras.c2w.double().tolist(),
        "focal_px": cameras.focal_px,
        "threads": threads,
        **job.render.model_dump(include=PIXELS),
        "objects": objects,
        "output": str(scratch / "output"),
        "progress": str(scratch / "progress.jsonl"),
        "temporary": str(scratch / "tmp"),
        "parent_pid": os.getpid(),
    }
