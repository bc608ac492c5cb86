"""`python -m aligncvc.evaluate.controls`: sample sets whose consistency is known beforehand.

A consistency metric is worth its name only where it ranks true views above disturbed ones, and those above
views of different objects. So four controls go the same way as every method: views of known consistency,
their reconstruction by the pretrained reconstructor (never the aligned one), its renderings at the rig.

    gt        the true views: consistent, the upper bound of a path through this reconstructor
    jitter    the true views, each but the input disturbed in colour and in pose: a little inconsistent
    shuffled  the input view, and at every other pose the true view of a different object: inconsistent
    copy      the input view at every pose: alike, and impossible for nearly every object
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from torch import Tensor, nn

from aligncvc.cameras import Cameras
from aligncvc.config import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.catalogue import CONTROL_PREFIX
from aligncvc.files import write_json
from aligncvc.hardware import hardware
from aligncvc.memory import PeakMemory
from aligncvc.recon.judge import load_judge
from aligncvc.renderset import PosedObject, RenderSet, batched
from aligncvc.sample.aligncvc import Sampled
from aligncvc.sample.batch import Cost, claim_samples, save_sampled
from aligncvc.sample.measure import Stopwatch
from aligncvc.splat import rasterise
from aligncvc.streams import numpy_stream
from aligncvc.views import composite, reduced

JITTER_GAIN = 0.15
"""Each colour channel of a jittered view is multiplied by 1 +- this (uniform) ..."""
JITTER_OFFSET = 0.05
"""... and moved by +- this; the object only, the background stays white."""
JITTER_NEIGHBOUR = 0.5
"""Share of jittered views that are the true image of the next pose on the ring, to either side."""
JITTER_SHIFT = 0.04
"""Every jittered view is then moved in the image plane by +- this fraction of its side, ..."""
JITTER_TURN_DEG = 6.0
"""... rolled by +- this angle, ..."""
JITTER_SCALE = 0.06
"""... and zoomed by 1 +- this."""

ControlViews = Callable[[str, Mapping[str, PosedObject], int, int], Tensor]
"""(object, all readable objects, root seed, sampling seed) -> (V, 3, H, W) in [0, 1] on white, at the rig."""


def gt_views(name: str, objects: Mapping[str, PosedObject], root_seed: int, seed: int) -> Tensor:
    """The true views."""
    return objects[name].rig_from(0)[0]


def copied_views(name: str, objects: Mapping[str, PosedObject], root_seed: int, seed: int) -> Tensor:
    """The input view at every pose."""
    images = objects[name].rig_from(0)[0]
    return images[:1].expand_as(images).clone()


def shuffled_views(name: str, objects: Mapping[str, PosedObject], root_seed: int, seed: int) -> Tensor:
    """The input view, and at every other pose the true view of another object, each a different one.

    Objects are used twice only if there are fewer than views. Raises UserError for a set of one object.
    """
    others = sorted(set(objects) - {name})
    if not others:
        raise UserError(
            "the control `shuffled` needs at least two objects and the set has one; render more objects or "
            "leave it out of evaluate.controls"
        )
    images = objects[name].rig_from(0)[0].clone()
    rng = numpy_stream(root_seed, "control", "shuffled", name, seed)
    rounds = math.ceil(len(images) / len(others))
    order = [int(i) for _ in range(rounds) for i in rng.permutation(len(others))]
    for view in range(1, len(images)):
        images[view] = objects[others[order[view - 1]]].rig_from(0)[0][view]
    return images


def jittered_views(name: str, objects: Mapping[str, PosedObject], root_seed: int, seed: int) -> Tensor:
    """The true views, each but the input with another colour and seen from a slightly wrong pose."""
    posed = objects[name]
    images = posed.rig_from(0)[0].clone()
    for view in range(1, len(posed.rig)):
        rng = numpy_stream(root_seed, "control", "jitter", name, seed, view)
        step = int(rng.choice([-1, 1])) if rng.random() < JITTER_NEIGHBOUR else 0
        images[view] = jitter(posed.views.rgba[(posed.rig[view] + step) % len(posed.views)], rng)
    return images


def jitter(rgba: Tensor, rng: np.random.Generator) -> Tensor:
    """(4, H, W) straight alpha -> (3, H, W) on white, disturbed as the JITTER constants say."""
    gain = torch.from_numpy(rng.uniform(1 - JITTER_GAIN, 1 + JITTER_GAIN, (3, 1, 1))).float()
    offset = torch.from_numpy(rng.uniform(-JITTER_OFFSET, JITTER_OFFSET, (3, 1, 1))).float()
    coloured = torch.cat([(rgba[:3] * gain + offset).clamp(0, 1), rgba[3:]])
    image = composite(coloured, 1.0)
    height, width = image.shape[-2:]
    turn = float(rng.uniform(-JITTER_TURN_DEG, JITTER_TURN_DEG))
    zoom = float(rng.uniform(1 - JITTER_SCALE, 1 + JITTER_SCALE))
    shift = rng.uniform(-JITTER_SHIFT, JITTER_SHIFT, 2) * (width, height)
    turned = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom))
    warp = turned + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    size, white = (width, height), (1.0, 1.0, 1.0)
    warped = cv2.warpAffine(pixels, warp, size, flags=cv2.INTER_LINEAR, borderValue=white)
    return torch.from_numpy(warped).permute(2, 0, 1).clamp(0, 1)


CONTROLS: dict[str, ControlViews] = {
    "gt": gt_views,
    "jitter": jittered_views,
    "shuffled": shuffled_views,
    "copy": copied_views,
}
"""By name, the best first."""


def generator_sized(views: Tensor, config: Config) -> Tensor:
    """Views (V, 3, H, W) reduced to the side of the generator's own views, if that is smaller."""
    side = min(config.mvg.size_px or views.shape[-1], *views.shape[-2:])
    return reduced(views, (side, side))


@torch.no_grad()
def reconstruct(reconstructor: nn.Module, images: Tensor, cameras: Cameras) -> tuple[Sampled, Cost]:
    """What the path makes of views (V, 3, H, W): a sample of one step, no call of the generator."""
    watch, memory = Stopwatch(images.device), PeakMemory(images.device)
    with watch("reconstruct"):
        gaussians = reconstructor(images[None], batched([cameras]))
    with watch("render"):
        renderings = rasterise(gaussians[0], cameras).rgb.clamp(0, 1)
    cost = Cost(0, watch.total, dict(watch.seconds), memory.read())
    return Sampled(gaussians[0], images[None], renderings[None], [0]), cost


def control_set(config: Config, control: str, manifest: Path, out: Path, force: bool = False) -> None:
    """Every object of the manifest times every seed, in the layout of `python -m aligncvc.sample`.

    Views have the generator's size if that is smaller than the renders', so that controls and methods are
    judged alike. An object that cannot be read is listed under "failed" and the others go on. Raises
    UserError for an unknown control, missing weights, files of another origin in `out` (unless force), or
    more failures than render.max_failure_rate allows.
    """
    if control not in CONTROLS:
        raise UserError(f"there is no control {control!r}; choose one of {', '.join(CONTROLS)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    renders = RenderSet(manifest, config.render.size_px)
    claim_samples(out, renders.ids, config.seeds, force)
    objects, failed = _readable(renders)
    if len(failed) > config.render.max_failure_rate * len(renders) or not objects:
        raise UserError(
            f"{len(failed)} of {len(renders)} objects of {manifest} cannot be read (first: "
            f"{failed[0]['reason']}); render the set again"
        )
    reconstructor = load_judge(config).to(device)
    first_images, first_cameras = next(iter(objects.values())).rig_from(0)
    first_images = generator_sized(first_images, config).to(device)
    reconstruct(reconstructor, first_images, first_cameras.to(device))  # warm-up, thrown away
    entries, method = [], CONTROL_PREFIX + control
    for name, posed in objects.items():
        cameras = posed.rig_from(0)[1].to(device)
        for seed in config.seeds:
            views = generator_sized(CONTROLS[control](name, objects, config.seed, seed), config).to(device)
            sampled, cost = reconstruct(reconstructor, views, cameras)
            path = f"{name}/seed{seed}"
            facts = {
                "method": method,
                "object": name,
                "seed": seed,
                "steps": 1,
                **asdict(cost),
            }
            save_sampled(out / path, sampled, facts, config.protocol.metrics.geometry.voxel)
            entries.append({"object": name, "seed": seed, "path": path})
    write_json(
        out / "manifest.json",
        {"method": method, "entries": entries, "failed": failed, "hardware": hardware()},
    )


def _readable(renders: RenderSet) -> tuple[dict[str, PosedObject], list[dict[str, str]]]:
    objects: dict[str, PosedObject] = {}
    failed: list[dict[str, str]] = []
    for name in renders.ids:
        try:
            objects[name] = renders.load(name)
        except UserError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            failed.append({"object": name, "reason": str(error)})
    return objects, failed


@dataclass
class Controls:
    """Write a sample set whose consistency is known beforehand."""

    control: str
    """gt, jitter, shuffled or copy."""
    renders: Path
    """manifest.tsv of the ground-truth renders."""
    out: Path
    """Folder for the sample set."""
    config: Path | None = None
    """Configuration; config/config.yaml if left out."""
    force: bool = False
    """Write into `out` even if it holds files of another origin, and replace those of the same name."""


def main() -> None:
    arguments = tyro.cli(Controls, prog="python -m aligncvc.evaluate.controls")
    config = load_config(arguments.config)
    control_set(config, arguments.control, arguments.renders, arguments.out, arguments.force)
    print(f"{arguments.out}: {CONTROL_PREFIX}{arguments.control}")


if __name__ == "__main__":
    cli(main)
