"""Sample every object of a render set with one method of the configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aligncvc.cameras import Cameras
from aligncvc.config import Config, Method
from aligncvc.errors import UserError
from aligncvc.files import atomic_path, write_json
from aligncvc.gaussians import Gaussians, save_ply
from aligncvc.hardware import hardware
from aligncvc.memory import PeakMemory
from aligncvc.meshes import mesh_from_gaussians, save_glb
from aligncvc.mvg import MultiViewGenerator
from aligncvc.ownership import claim_folder, remove
from aligncvc.pair import load_pair
from aligncvc.renderset import RenderSet
from aligncvc.rollout import timesteps_for
from aligncvc.sample.aligncvc import Sampled, sample_aligncvc
from aligncvc.sample.measure import Stopwatch, counted_calls
from aligncvc.sample.two_stage import sample_two_stage

SAMPLE_FILES = ("model.ply", "model.glb", "steps.npz", "sample.json")


@dataclass(frozen=True)
class Cost:
    """What one object took. network_calls counts a guided evaluation as two (conditional, unconditional)."""

    network_calls: int
    seconds: float
    seconds_by_part: dict[str, float]
    peak_mb: float


def sample_one(
    generator: MultiViewGenerator,
    reconstructor: nn.Module,
    method: Method,
    config: Config,
    image: Tensor,
    cameras: Cameras,
    seed: int,
    name: str,
) -> tuple[Sampled, Cost]:
    """One object with one method, batch 1 so that the timing is that of one object.

    image (3, H, W) in [0, 1] on white; cameras (V, 4, 4), input view first at azimuth 0; `name` names
    the noise.
    """
    watch, own = Stopwatch(image.device), method.guidance_scale
    guidance = config.mvg.guidance_scale if own is None else own
    memory = PeakMemory(image.device)
    with counted_calls(generator.unet, len(cameras)) as calls:
        if method.sampler == "two_stage":
            sampled = sample_two_stage(
                generator, reconstructor, image, cameras, method.steps, guidance, seed, name, watch
            )
        else:
            sampled = sample_aligncvc(
                generator,
                reconstructor,
                image,
                cameras,
                timesteps_for(method.steps, config),
                guidance,
                seed,
                name,
                watch,
            )
    return sampled, Cost(calls[0], watch.total, dict(watch.seconds), memory.read())


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
        remove(beside)
        return [path]
    save_glb(beside, mesh)
    return [path, beside]


def _bytes(images: Tensor) -> np.ndarray:
    """(S, V, 3, H, W) in [0, 1] -> (S, V, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()


def claim_samples(out: Path, ids: Sequence[str], seeds: Sequence[int], force: bool) -> None:
    """Claim the folder of a set. Raises UserError if it holds files of another origin, unless force."""
    samples = [f"{name}/seed{seed}" for name in ids for seed in seeds]
    # a sample.json is what versions without marks left in every folder of theirs
    known = [f"{path}/{name}" for path in samples if _is_sample(out / path) for name in SAMPLE_FILES]
    planned = ["manifest.json", *(f"{path}/{name}" for path in samples for name in SAMPLE_FILES)]
    claim_folder(out, planned, known=[*known, *(["manifest.json"] if known else [])], force=force)


def _is_sample(folder: Path) -> bool:
    try:
        return "seconds_by_part" in json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def sample_set(
    config: Config, method_name: str, manifest: Path, align_dir: Path, out: Path, force: bool = False
) -> None:
    """Every object of the manifest times every seed; `<out>/manifest.json` comes last.

    An object that cannot be read is listed under "failed" and the others go on. Raises UserError for an
    unknown method, a protocol that does not fit the models, missing weights, files of another origin in `out`
    (unless force), or more failures than render.max_failure_rate allows.
    """
    if method_name not in config.sample.methods:
        raise UserError(
            f"sample.methods does not define {method_name!r}; choose one of {sorted(config.sample.methods)}"
        )
    method = config.sample.methods[method_name]
    config.require_models_fit()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    renders = RenderSet(manifest, config.render.size_px)
    claim_samples(out, renders.ids, config.seeds, force)
    generator, reconstructor = load_pair(config, method.run, align_dir)
    generator.to(device)
    reconstructor.to(device)
    warm_up(generator, reconstructor, method, config, renders, device)
    entries, failed = [], []
    for object_id in renders.ids:
        try:
            images, cameras = renders.load(object_id).rig_from(0)
        except UserError as error:
            print(f"{object_id} is left out: {error}", file=sys.stderr)
            failed.append({"object": object_id, "reason": str(error)})
            continue
        for seed in config.seeds:
            sampled, cost = sample_one(
                generator,
                reconstructor,
                method,
                config,
                images[0].to(device),
                cameras.to(device),
                seed,
                object_id,
            )
            path = f"{object_id}/seed{seed}"
            save_sampled(
                out / path,
                sampled,
                {
                    "method": method_name,
                    "object": object_id,
                    "seed": seed,
                    "steps": method.steps,
                    **asdict(cost),
                },
                config.protocol.metrics.geometry.voxel,
            )
            entries.append({"object": object_id, "seed": seed, "path": path})
    if len(failed) > config.render.max_failure_rate * len(renders):
        raise UserError(
            f"{len(failed)} of {len(renders)} objects of {manifest} cannot be read (first: "
            f"{failed[0]['reason']}); render the set again"
        )
    write_json(
        out / "manifest.json",
        {"method": method_name, "entries": entries, "failed": failed, "hardware": hardware()},
    )


def warm_up(
    generator: MultiViewGenerator,
    reconstructor: nn.Module,
    method: Method,
    config: Config,
    renders: RenderSet,
    device: torch.device,
) -> None:
    """One sample that is thrown away, so that the first object's time holds no one-off set-up."""
    for object_id in renders.ids:
        try:
            images, cameras = renders.load(object_id).rig_from(0)
        except UserError:
            continue
        short = method.model_copy(update={"steps": min(2, method.steps)})
        sample_one(
            generator, reconstructor, short, config, images[0].to(device), cameras.to(device), 0, object_id
        )
        return
