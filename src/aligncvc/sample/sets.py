"""Sample sets: every object of a render set times every seed, with one method of one pair, or a control."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from aligncvc.config.jobs.sample import ControlJob, SampleJob
from aligncvc.errors import UserError, reason_of
from aligncvc.files import atomic_path, write_json
from aligncvc.hardware import PeakMemory, hardware
from aligncvc.loop.cost import Stopwatch, counted_calls
from aligncvc.loop.feedback import find_feedback
from aligncvc.loop.unroll import KeptStep, Loop, Sampled, sample, view_noise
from aligncvc.meshes import mesh_from_gaussians, save_glb
from aligncvc.models.generators.schedules import Time
from aligncvc.models.pair import Aligned, PairOfModels, load_pair
from aligncvc.ownership import claim_folder, remove
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.gaussians import save_ply
from aligncvc.scene.renderset import IN_TURN, PosedObject, RenderSet, batched

ALIGNED = Path("results/align")
"""Where the workflow keeps alignment runs: folders {pair}/{run}."""


@dataclass(frozen=True)
class Cost:
    """What one object took. network_calls counts a guided evaluation as two (conditional, unconditional).

    cpu_seconds: of all threads of the process, in the parts that `seconds` counts.
    """

    network_calls: int
    seconds: float
    cpu_seconds: float
    seconds_by_part: dict[str, float]
    peak_mb: float


SAMPLE_FILES = ("model.ply", "model.glb", "steps.npz", "sample.json")

Make = Callable[[PosedObject, int], tuple[Sampled, Cost]]
"""(object, seed) -> its sample."""


@dataclass(frozen=True)
class Origin:
    """Whose samples a set holds, for its manifest. rig, reconstruct: the pair's, if there is one."""

    pair: str
    method: str
    steps: int
    rig: dict[str, Any] | None = None
    reconstruct: list[int] | None = None


def sample_one(
    pair: PairOfModels,
    job: SampleJob,
    image: Tensor,
    cameras: Cameras,
    seed: int,
    name: str,
    on_step: Callable[[KeptStep], None] | None = None,
) -> tuple[Sampled, Cost]:
    """One object with one method, batch 1 so that the timing is that of one object.

    image: (3, H, W) in [0, 1] on white. cameras: (V, 4, 4), input view first at azimuth 0. seed: of the
    noise, whose streams are (seed, "sample", name, step, view). on_step: told each kept step as it is made.
    """
    generator, views, device = pair.generator, len(cameras), image.device

    def noise(index: int, _: Time) -> Tensor:
        return view_noise(generator.latent_shape(views), seed, "sample", name, index)[None].to(device)

    feedback, memory = find_feedback(job.feedback), PeakMemory(device)
    loop = Loop(pair, batched([cameras]), job.guidance, noise, Stopwatch(device))
    times = feedback.times(generator.schedule, job.steps, job.timesteps)
    with counted_calls(generator.denoiser, generator.rows(views)) as calls:
        sampled = sample(loop, feedback, image, times, on_step)
    watch = loop.watch
    return sampled, Cost(calls[0], watch.total, watch.cpu_seconds, dict(watch.seconds), memory.read())


def pair_for(job: SampleJob, aligned: Path | None = None) -> PairOfModels:
    """The job's networks on the device that there is. aligned: folder of its run; None: the workflow's."""
    find_feedback(job.feedback).check(job.pair, job.steps)
    weights = None
    if job.aligned is not None:
        weights = Aligned(job.aligned.student, job.aligned.recon)
    elif job.run is not None:
        weights = Aligned.in_folder(aligned or ALIGNED / job.pair.name / job.run)
    pair = load_pair(job.pair, job.checkpoints, weights, job.lora_rank)
    return pair.to("cuda" if torch.cuda.is_available() else "cpu")


def sample_set(
    job: SampleJob, manifest: Path, out: Path, aligned: Path | None = None, force: bool = False
) -> None:
    """Every object of the manifest times every seed, as `write_set` lays them out."""
    renders = RenderSet(manifest, job.pair.renderings_px, job.pair.rig, kept=IN_TURN)
    claim_samples(out, renders.ids, job.seeds, force)
    pair = pair_for(job, aligned)
    device = next(pair.reconstructor.parameters()).device
    listed = job.timesteps and job.timesteps[:2]
    short = job.model_copy(update={"steps": min(2, job.steps), "timesteps": listed})

    def make(posed: PosedObject, seed: int, with_job: SampleJob = job) -> tuple[Sampled, Cost]:
        images, cameras = posed.rig_from(0)
        return sample_one(pair, with_job, images[0].to(device), cameras.to(device), seed, posed.id)

    rig = job.pair.rig.model_dump(mode="json")
    origin = Origin(job.pair.name, job.method, job.steps, rig, job.pair.reconstruct)
    write_set(job, origin, renders, out, make, lambda posed, seed: make(posed, seed, short))


def write_set(
    job: SampleJob | ControlJob,
    origin: Origin,
    renders: RenderSet,
    out: Path,
    make: Make,
    warm_up: Make,
) -> None:
    """Make and save every object times every seed in `{object}/seed{seed}/`; `manifest.json` comes last.

    An object that fails for any reason is listed under "failed" and the others go on, until more have failed
    than job.max_failure_rate allows. warm_up: makes a sample that is thrown away, so that the first object's
    time holds no one-off set-up.
    """
    entries: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for object_id in renders.ids:
        try:
            posed = renders.load(object_id)
            if not entries:
                warm_up(posed, job.seeds[0])
            done = []
            for seed in job.seeds:
                sampled, cost = make(posed, seed)
                path = f"{object_id}/seed{seed}"
                facts = {"pair": origin.pair, "method": origin.method, "object": object_id, "seed": seed}
                save_sampled(out / path, sampled, {**facts, "steps": origin.steps, **asdict(cost)}, job.voxel)
                done.append({"object": object_id, "seed": seed, "path": path})
            entries += done
        except Exception as error:  # whatever one object holds, the others are sampled
            print(f"{object_id} is left out: {reason_of(error)}", file=sys.stderr)
            failed.append({"object": object_id, "reason": reason_of(error)})
            if len(failed) > job.max_failure_rate * len(renders):
                raise UserError(
                    f"{len(failed)} of {len(renders)} objects of {renders.manifest} failed, more than "
                    f"render.max_failure_rate allows; the first, {failed[0]['object']}: {failed[0]['reason']}"
                ) from error
    whose = asdict(origin)
    del whose["steps"]  # every sample.json has it
    results = {"settings": job.hash, "entries": entries, "failed": failed, "hardware": hardware()}
    write_json(out / "manifest.json", whose | results)


def claim_samples(out: Path, ids: Sequence[str], seeds: Sequence[int], force: bool = False) -> None:
    """Raises UserError, unless force, if a file of another origin is where these samples go."""
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


def save_sampled(folder: Path, sampled: Sampled, facts: dict[str, Any], voxel: float) -> None:
    """Write model.ply, model.glb (see `save_surface`), steps.npz and, last, sample.json.

    The surface has all of its faces, since geometry is measured on it.
    """
    save_ply(folder / "model.ply", sampled.gaussians)
    save_surface(folder / "model.glb", mesh_from_gaussians(sampled.gaussians, voxel=voxel))
    with atomic_path(folder / "steps.npz") as temporary:
        np.savez_compressed(
            temporary,
            views=_bytes(sampled.views),
            renders=_bytes(sampled.renderings),
            timesteps=np.asarray(sampled.timesteps),
        )
    write_json(folder / "sample.json", facts)


def save_surface(path: Path, mesh: trimesh.Trimesh | None) -> list[Path]:
    """Write a model's surface as `path` (.glb); returns what was written.

    Translucent Gaussians have none (None): then nothing is written, and one of an earlier run is removed.
    """
    if mesh is None:
        remove(path)
        return []
    save_glb(path, mesh)
    return [path]


def _bytes(images: Tensor) -> np.ndarray:
    """(S, V, 3, H, W) in [0, 1] -> (S, V, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
