"""Controls: sample sets whose consistency is known beforehand.

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from aligncvc.config.jobs.sample import CONTROL, ControlJob
from aligncvc.errors import UserError
from aligncvc.hardware import PeakMemory
from aligncvc.loop.cost import Stopwatch
from aligncvc.loop.unroll import Sampled
from aligncvc.models.pair import load_reconstructor
from aligncvc.sample.sets import Cost, Origin, claim_samples, write_set
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import IN_TURN, PosedObject, RenderSet, batched
from aligncvc.scene.views import composite, reduced
from aligncvc.splat import rasterise
from aligncvc.streams import numpy_stream

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
    """The true views of an object at the rig, (V, 3, H, W) on white."""
    return objects[name].rig_from(0)[0]


def copied_views(name: str, objects: Mapping[str, PosedObject], root_seed: int, seed: int) -> Tensor:
    """The input view at every pose of the rig, (V, 3, H, W) on white."""
    images = objects[name].rig_from(0)[0]
    return images[:1].expand_as(images).clone()


def shuffled_views(name: str, objects: Mapping[str, PosedObject], root_seed: int, seed: int) -> Tensor:
    """Of each other object one view; objects are used twice only if there are fewer than views."""
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
    """True views, all but the first disturbed or taken from a neighbouring pose, (V, 3, H, W) on white."""
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


@torch.no_grad()
def reconstruct(judge: nn.Module, images: Tensor, cameras: Cameras) -> tuple[Sampled, Cost]:
    """What the path makes of views (V, 3, H, W): a sample of one step, no call of a generator."""
    watch, memory = Stopwatch(images.device), PeakMemory(images.device)
    with watch("reconstruct"):
        gaussians = judge(images[None], batched([cameras]))
    with watch("render"):
        renderings = rasterise(gaussians[0], cameras).rgb.clamp(0, 1)
    cost = Cost(0, watch.total, watch.cpu_seconds, dict(watch.seconds), memory.read())
    return Sampled(gaussians[0], images[None], renderings[None], [0]), cost


def readable(renders: RenderSet) -> Iterator[str]:
    """Names of the objects that can be read; `write_set` says what is wrong with the others."""
    for name in renders.ids:
        with suppress(Exception):
            renders.load(name)
            yield name


class ReadableObjects(Mapping[str, PosedObject]):
    """The readable objects of a render set; no more of them are in memory than the set keeps."""

    def __init__(self, renders: RenderSet) -> None:
        self.renders = renders

    @cached_property
    def names(self) -> list[str]:
        return list(readable(self.renders))

    def __getitem__(self, name: str) -> PosedObject:
        return self.renders.load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def control_set(job: ControlJob, manifest: Path, out: Path, force: bool = False) -> None:
    """Every object of the manifest times every seed, in the layout of `python -m aligncvc.sample`.

    Views have the generators' size if that is smaller than the renders', so that all are scored alike.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    renders, side = RenderSet(manifest, job.size_px, kept=IN_TURN), min(job.views_px, job.size_px)
    claim_samples(out, renders.ids, job.seeds, force)
    objects = ReadableObjects(renders)
    judge = load_reconstructor(job.judge, job.seed, job.checkpoints).to(device)

    def through(views: Tensor, posed: PosedObject) -> tuple[Sampled, Cost]:
        return reconstruct(judge, reduced(views, (side, side)).to(device), posed.rig_from(0)[1].to(device))

    def make(posed: PosedObject, seed: int) -> tuple[Sampled, Cost]:
        return through(CONTROLS[job.control](posed.id, objects, job.seed, seed), posed)

    rigs = (
        {"azimuths_deg": azimuths_deg(renders.load(name)), "elevation_deg": None}
        for name in readable(renders)
    )
    origin = Origin(CONTROL, f"{CONTROL}:{job.control}", 1, next(rigs, None))
    write_set(job, origin, renders, out, make, lambda posed, _: through(posed.rig_from(0)[0], posed))


def azimuths_deg(posed: PosedObject) -> list[float]:
    """Where the views of the object's rig stand, counted from the input view."""
    ring = len(posed.views)
    return [360 * ((i - posed.rig[0]) % ring) / ring for i in posed.rig]
