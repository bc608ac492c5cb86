"""What has to be rendered: the objects manifest, the cameras, and each object's job hash."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aligncvc.config.protocols import Protocol
from aligncvc.config.sections import Config, Render
from aligncvc.errors import UserError
from aligncvc.files import sha256_json
from aligncvc.render.blender_scene import SCENE_VERSION
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.views import split_variant, variant_id
from aligncvc.streams import stream_seed

COLUMNS = ("id", "path", "sha256", "licence", "creator", "status", "reason")


@dataclass(frozen=True)
class SourceObject:
    """One row of the objects manifest."""

    id: str
    path: Path
    sha256: str
    licence: str
    creator: str
    failure: str | None
    """Why the objects stage gave it up, or None."""
    variant: int = 0
    """0: its own look; n: the nth other one (`appearance`), rendered under the id `variant_id(id, n)`."""


def read_objects(manifest: Path) -> list[SourceObject]:
    """Read the objects stage's manifest.tsv. Raises UserError naming the file and what is wrong with it."""
    if not manifest.exists():
        raise UserError(f"no objects manifest at {manifest}; make it with python -m aligncvc.objects")
    with manifest.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = set(COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise UserError(
                f"{manifest} lacks the columns {', '.join(sorted(missing))}; make it again with "
                "python -m aligncvc.objects"
            )
        rows = list(reader)
    if not rows:
        raise UserError(f"{manifest} lists no objects; check objects.sets in the configuration")
    objects = [_source(row, manifest) for row in rows]
    names = [o.id for o in objects]
    doubles = {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else set()
    if doubles:
        raise UserError(f"{manifest} lists {', '.join(sorted(doubles))} more than once; ids must be unique")
    return objects


def _source(row: Mapping[str, str], manifest: Path) -> SourceObject:
    name = row["id"]
    if not name or name in (".", "..") or "/" in name or name.startswith("."):
        raise UserError(f"{manifest} has the id {name!r}, which cannot be a folder's name; rename the object")
    failure = None if row["status"] == "ok" else (row["reason"] or "the objects stage gave no reason")
    return SourceObject(
        name, manifest.parent / row["path"], row["sha256"], row["licence"], row["creator"], failure
    )


def with_variants(sources: Sequence[SourceObject], count: int) -> list[SourceObject]:
    """Every object in `count` looks: all the original ones first, then all first variants, and so on.

    Raises UserError if an object's own id reads like a variant's.
    """
    odd = [s.id for s in sources if split_variant(s.id)[1] > 0]
    if count > 1 and odd:
        raise UserError(
            f"the object id {odd[0]!r} ends like a variant's ({variant_id('id', 1)!r}); rename it"
        )
    return [
        replace(source, id=variant_id(source.id, n), variant=n) for n in range(count) for source in sources
    ]


def look_seed(config: Config, source: SourceObject) -> int | None:
    """Seed of an object's other look; None for its own."""
    return stream_seed(config.seed, "look", source.id) & 0x7FFFFFFF if source.variant else None


def ring_cameras(render: Render) -> Cameras:
    """The evaluation ring: view 0 is the input view, view i stands at azimuth i * 360 / ring_views."""
    return orbit(
        ring_azimuths_deg(render.ring_views),
        render.elevation_deg,
        distance=render.distance,
        fov_y_deg=render.fov_y_deg,
        size_px=render.size_px,
    )


def rigs(render: Render) -> dict[str, list[int]]:
    """Named subsets of the stored views, as written to cameras.json."""
    return {"rig": render.rig_indices, "ring": list(range(render.ring_views))}


def require_scene(protocol: Protocol) -> None:
    """Raises UserError if the protocol was written for another version of the scene than this one."""
    if protocol.versions.scene != SCENE_VERSION:
        raise UserError(
            f"protocol {protocol.name} asks for version {protocol.versions.scene} of the scene and this code "
            f"renders version {SCENE_VERSION}; set versions.scene to {SCENE_VERSION} in its file to measure "
            "anew, or use the code of that version"
        )


def renderer_facts(render: Render) -> dict[str, Any]:
    """The settings that decide which pixels are kept (timeouts and thread counts do not)."""
    return {
        "engine": "CYCLES",
        "device": "CPU",
        "scene_version": SCENE_VERSION,
        "samples": render.samples,
        "denoise": render.denoise,
        "normalisation": render.normalisation,
        "light": render.light,
        "crop": render.crop,
        "noise_threshold": 0.0,
        "view_transform": "Standard",
    }


def object_seed(config: Config, source: SourceObject) -> int:
    """Cycles' seed: 31 bits that depend on the root seed and the object, not on order or sharding."""
    return stream_seed(config.seed, "render", source.id) & 0x7FFFFFFF


def job_hash(config: Config, source: SourceObject) -> str:
    """Equal hashes mean equal renders: source bytes, cameras, settings, seed, scene version."""
    cameras = ring_cameras(config.render)
    return sha256_json(
        {
            "object": source.id,
            "sha256": source.sha256,
            "seed": object_seed(config, source),
            "c2w": cameras.c2w.double().tolist(),
            "fov_y_deg": cameras.fov_y_deg,
            "size_px": cameras.height,
            "rigs": rigs(config.render),
            "renderer": renderer_facts(config.render),
            **({"look": look_seed(config, source)} if source.variant else {}),
        }
    )


def make_job(
    config: Config,
    sources: Sequence[tuple[int, SourceObject]],
    *,
    threads: int,
    scratch: Path,
    parent_pid: int,
) -> dict[str, Any]:
    """The JSON that `blender_scene` reads: plain numbers and absolute paths."""
    cameras = ring_cameras(config.render)
    return {
        "c2w": cameras.c2w.double().tolist(),
        "width": cameras.width,
        "height": cameras.height,
        "focal_px": cameras.focal_px,
        "near": cameras.near,
        "far": cameras.far,
        "threads": threads,
        "samples": config.render.samples,
        "denoise": config.render.denoise,
        "normalisation": config.render.normalisation,
        "light": config.render.light,
        "depth": True,
        "normals": True,
        "objects": [
            {
                "index": i,
                "path": str(s.path.resolve()),
                "seed": object_seed(config, s),
                "look": look_seed(config, s),
            }
            for i, s in sources
        ],
        "output": str(scratch / "output"),
        "progress": str(scratch / "progress.jsonl"),
        "temporary": str(scratch / "tmp"),
        "parent_pid": parent_pid,
    }
