"""A sample set on disk: a folder for each object and seed, then `manifest.json`, which says it is whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import atomic_path, write_json
from aligncvc.hardware import hardware
from aligncvc.meshes import mesh_from_gaussians, save_glb
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.scene.renderset import PosedObject, RenderSet


@dataclass(frozen=True)
class Cost:
    """What one object took. network_calls counts a guided evaluation as two (conditional, unconditional)."""

    network_calls: int
    seconds: float
    seconds_by_part: dict[str, float]
    peak_mb: float


@dataclass(frozen=True)
class Sampled:
    """One object's result.

    gaussians: unbatched. views and renderings: (S, V, 3, H, W) in [0, 1], generated views and their
    renderings at the same cameras for each kept step, each at its own size; timesteps: (S,), descending. The
    last step is final.
    """

    gaussians: Gaussians
    views: Tensor
    renderings: Tensor
    timesteps: list[int]


def write_set(
    out: Path,
    objects: RenderSet,
    seeds: Sequence[int],
    make: Callable[[PosedObject, int], tuple[Sampled, Cost]],
    *,
    facts: Mapping[str, Any],
    voxel: float,
    max_failure_rate: float,
) -> None:
    """Every object times every seed. One that cannot be read is listed under "failed" and the others go on.

    Args:
        out: folder of the set.
        objects: the renders that are sampled.
        seeds: of the sampling runs.
        make: (object, seed) -> its sample and what it took.
        facts: of the whole set, for the manifest: pair, method, rig ...
        voxel: edge of the cells that surfaces are extracted with.
        max_failure_rate: share of unreadable objects above which nothing comes of it (UserError).
    """
    entries, failed = [], []
    for name in objects.ids:
        try:
            posed = objects.load(name)
        except UserError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            failed.append({"object": name, "reason": str(error)})
            if len(failed) > max_failure_rate * len(objects):
                raise UserError(
                    f"{len(failed)} of {len(objects)} objects of {objects.manifest} cannot be read (first: "
                    f"{failed[0]['reason']}); render the set again"
                ) from None
            continue
        for seed in seeds:
            sampled, cost = make(posed, seed)
            path = f"{name}/seed{seed}"
            one = {"method": facts["method"], "object": name, "seed": seed, "steps": len(sampled.timesteps)}
            save_sampled(out / path, sampled, one | asdict(cost), voxel)
            entries.append({"object": name, "seed": seed, "path": path})
    write_json(out / "manifest.json", {**facts, "entries": entries, "failed": failed, "hardware": hardware()})


def save_sampled(folder: Path, sampled: Sampled, facts: dict[str, Any], voxel: float) -> None:
    """Write model.ply, model.glb (see `save_model`), steps.npz and, last, sample.json."""
    save_model(folder / "model.ply", sampled.gaussians, voxel)
    with atomic_path(folder / "steps.npz") as temporary:
        np.savez_compressed(
            temporary,
            views=_bytes(sampled.views),
            renders=_bytes(sampled.renderings),
            timesteps=np.asarray(sampled.timesteps, dtype=np.int64),
        )
    write_json(folder / "sample.json", facts)


def save_model(path: Path, gaussians: Gaussians, voxel: float) -> list[Path]:
    """Write Gaussians as `path` (.ply) and their surface as .glb beside it; returns what was written.

    voxel: edge of the cells that the surface is extracted with, which the protocol names.
    Translucent Gaussians have no surface: then there is no .glb, and one of an earlier run is removed.
    """
    save_ply(path, gaussians)
    mesh, beside = mesh_from_gaussians(gaussians, voxel=voxel), path.with_suffix(".glb")
    if mesh is None:
        beside.unlink(missing_ok=True)
        return [path]
    save_glb(beside, mesh)
    return [path, beside]


def _bytes(images: Tensor) -> np.ndarray:
    """(S, V, 3, H, W) in [0, 1] -> (S, V, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
