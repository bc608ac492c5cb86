"""Sample every object of a render set with one method of the configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aligncvc.config.sections import Config, Method
from aligncvc.errors import UserError, reason_of
from aligncvc.files import atomic_path, write_json
from aligncvc.hardware import PeakMemory, hardware
from aligncvc.loop.aligncvc import Sampled, sample_aligncvc
from aligncvc.loop.cost import Stopwatch, counted_calls
from aligncvc.loop.rollout import timesteps_for
from aligncvc.loop.two_stage import sample_two_stage
from aligncvc.meshes import mesh_from_gaussians, save_glb
from aligncvc.models.generators import MultiViewGenerator
from aligncvc.models.pair import load_pair
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import Gaussians, save_ply
from aligncvc.scene.renderset import RenderSet


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


def save_model(
    path: Path, gaussians: Gaussians, voxel: float, write: Callable[[Path, Gaussians], None] = save_ply
) -> list[Path]:
    """Write Gaussians as `path` (.ply) and their surface as .glb beside it; returns what was written.

    voxel: edge of the cells that the surface is extracted with, which the protocol names. write: how the .ply
    is written; by default as the networks have it, which is what evaluation measures.
    Translucent Gaussians have no surface: then there is no .glb, and one of an earlier run is removed.
    """
    write(path, gaussians)
    mesh, beside = mesh_from_gaussians(gaussians, voxel=voxel), path.with_suffix(".glb")
    if mesh is None:
        beside.unlink(missing_ok=True)
        return [path]
    save_glb(beside, mesh)
    return [path, beside]


def _bytes(images: Tensor) -> np.ndarray:
    """(S, V, 3, H, W) in [0, 1] -> (S, V, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()


def sample_set(config: Config, method_name: str, manifest: Path, align_dir: Path, out: Path) -> None:
    """Every object of the manifest times every seed; `<out>/manifest.json` comes last.

    An object that cannot be read or sampled is listed under "failed" and the others go on. Raises UserError
    for an unknown method, a protocol that does not fit the models, missing weights, or more failures than
    render.max_failure_rate allows.
    """
    if method_name not in config.sample.methods:
        raise UserError(
            f"sample.methods does not define {method_name!r}; choose one of {sorted(config.sample.methods)}"
        )
    method = config.sample.methods[method_name]
    config.require_models_fit()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    renders = RenderSet(manifest, config.render.size_px)
    generator, reconstructor = load_pair(config, method.run, align_dir)
    generator.to(device)
    reconstructor.to(device)
    warm_up(generator, reconstructor, method, config, renders, device)
    entries, failed = [], []
    for object_id in renders.ids:
        try:
            images, cameras = renders.load(object_id).rig_from(0)
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
        except Exception as error:  # whatever one object holds, the others are sampled
            print(f"{object_id} is left out: {reason_of(error)}", file=sys.stderr)
            failed.append({"object": object_id, "reason": reason_of(error)})
    if len(failed) > config.render.max_failure_rate * len(renders):
        raise UserError(
            f"{len(failed)} of {len(renders)} objects of {manifest} cannot be sampled (first: "
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
        except Exception:  # said when its turn comes
            continue
        short = method.model_copy(update={"steps": min(2, method.steps)})
        sample_one(
            generator, reconstructor, short, config, images[0].to(device), cameras.to(device), 0, object_id
        )
        return
