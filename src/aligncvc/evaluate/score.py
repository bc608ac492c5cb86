"""From samples to records: read, hand each subject to every family of metrics, count what failed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aligncvc.config.protocols import Protocol
from aligncvc.errors import UserError, reason_of
from aligncvc.evaluate.catalogue import SET_OBJECT
from aligncvc.evaluate.collect import Features
from aligncvc.evaluate.consistency import consistency_family
from aligncvc.evaluate.distribution import embed_images, floor_family
from aligncvc.evaluate.epipolar import epipolar_family
from aligncvc.evaluate.geometry import geometry_family, load_truth_surface
from aligncvc.evaluate.image_scores import draw_scored, image_family, views_family
from aligncvc.evaluate.lint import require_clean
from aligncvc.evaluate.models import GaussianModel
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record
from aligncvc.evaluate.samples import in_input_frame, read_cost, read_gaussians, read_manifest, read_steps
from aligncvc.evaluate.subject import Subject, Value
from aligncvc.evaluate.tools import Tools
from aligncvc.scene.cameras import relative_c2w
from aligncvc.scene.renderset import PosedObject, RenderSet
from aligncvc.scene.views import Views, reduced, view_facts

TRUTH = "control:gt"
"""The control whose views are the ground truth."""


@dataclass(frozen=True)
class Entry:
    """One (object, seed) to score. load raises UserError with the reason, or anything, if it cannot be."""

    object: str
    seed: int
    load: Callable[[], Subject]


@dataclass(frozen=True)
class Evaluation:
    """All records of one method, what they were measured by, and why entries failed (by "object/seedN")."""

    records: list[Record]
    facts: dict[str, Any]
    failures: dict[str, str]


class Truth:
    """The protocol's ground truth: views and surfaces of the objects, linted, in the input view's frame."""

    def __init__(self, protocol: Protocol, renders: Path, objects: Path | None) -> None:
        """renders, objects: manifest.tsv of both stages; without objects geometry has no truth."""
        self.protocol, self.set, self.objects = protocol, RenderSet(renders, protocol.render.size_px), objects

    @property
    def ids(self) -> list[str]:
        return self.set.ids

    def load(self, name: str) -> PosedObject:
        """One object's views in the frame of its input view. Raises UserError if they are unusable."""
        posed = self.set.load(name)
        views = in_input_frame(posed)
        require_clean(
            views.rgba,
            views.cameras,
            where=str(self.set.manifest.parent / name),
            expected=self.protocol.render.ring_views,
            allow_border=self.protocol.render.crop == "keep",
        )
        return replace(posed, views=views)

    def surface(self, name: str) -> Any:
        """The ground-truth mesh in the same frame, None without an objects manifest."""
        if self.objects is None:
            return None
        mesh = load_truth_surface(self.objects, name, view_facts(self.set.manifest.parent / name))
        posed = self.set.load(name)
        turn = relative_c2w(torch.eye(4)[None], posed.views.cameras.c2w[posed.rig[0]])[0]
        return mesh.apply_transform(turn.double().numpy())

    def sha256(self) -> dict[str, str]:
        """Hash of each readable object's 8-bit pixels: object, renderer, light and framing in one number."""
        found = {}
        for name in self.ids:
            try:
                found[name] = pixels_sha256(self.set.load(name).views)
            except Exception:  # said where the object is scored
                continue
        return found


def sample_entries(sample: Path, truth: Truth) -> tuple[str, list[Entry]]:
    """The method's name, and one entry for each object and seed of the protocol.

    Raises UserError if the folder is no sample set, or holds samples that the protocol does not ask for.
    """
    manifest = read_manifest(sample)
    wanted = [(name, seed) for name in truth.ids for seed in truth.protocol.seeds]
    strangers = sorted(set(manifest.entries) - set(wanted))
    if strangers:
        name, seed = strangers[0]
        raise UserError(
            f"{sample} holds samples that the protocol {truth.protocol.slug} does not ask for, such as "
            f"{name} (seed {seed}); sample the method again with this configuration"
        )

    def load(name: str, seed: int) -> Subject:
        posed = truth.load(name)
        folder = manifest.path(name, seed)
        cost = read_cost(folder / "sample.json")
        views, renders = read_steps(folder / "steps.npz", posed)
        surface = folder / "model.glb"  # written by sampling with the protocol's cells
        return Subject(
            object=name,
            seed=seed,
            truth=posed.views,
            rig=posed.rig,
            scored=truth.protocol.views.indices(len(posed.views), posed.rig),
            background=truth.protocol.background,
            views=views,
            renders=renders,
            model=GaussianModel(
                read_gaussians(folder / "model.ply"),
                truth.protocol.metrics.geometry.voxel,
                surface if surface.is_file() else None,
            ),
            surface=truth.surface(name),
            cost=cost,
        )

    return manifest.method, [Entry(name, seed, partial(load, name, seed)) for name, seed in wanted]


def evaluate(
    method: str, pair: str, dataset: str, entries: Iterable[Entry], truth: Truth, tools: Tools
) -> Evaluation:
    """Score every entry, then the set as a whole.

    An entry that cannot be loaded or scored gets the record `failed` = 1 and nothing else; the others get
    `failed` = 0. Raises UserError if nothing could be scored.
    """
    nan, protocol = math.nan, truth.protocol.hash
    row = Record(method, pair, dataset, "", 0, MEAN_VIEW, FINAL_STEP, "", nan, protocol, nan, nan)
    records: list[Record] = []
    failures: dict[str, str] = {}
    features = Features(tools.encoder, tools.fid)
    for entry in entries:
        here = replace(row, object=entry.object, seed=entry.seed)
        try:
            subject = entry.load()
            here = replace(
                here,
                seconds=subject.cost.get("seconds", math.nan),
                peak_mb=subject.cost.get("peak_mb", math.nan),
            )
            drawn = None if subject.model is None else draw_scored(subject)
            found = list(score_subject(subject, tools, drawn))
            features.add(subject, drawn)
            records += [*as_records(here, found), replace(here, metric="failed", value=0.0)]
        except Exception as error:  # whatever one entry holds, the others are scored
            failures[f"{entry.object}/seed{entry.seed}"] = reason_of(error)
            records.append(replace(here, metric="failed", value=1.0))
    if len(failures) == len(records):
        reason = next(iter(failures.values()), "there is no entry")
        raise UserError(f"nothing of {method} could be scored; the first reason: {reason}")
    whole = replace(row, object=SET_OBJECT)
    records += as_records(whole, features.values(tools.seed))
    if method == TRUTH:  # once for the render set: embedding every ring again for each method costs seconds
        records += as_records(whole, _floor(truth, tools, features.size))
    facts = {
        **truth.protocol.resolved,
        "ground_truth_sha256": truth.sha256(),
        "judge": tools.judge_facts,
        "unavailable": tools.unavailable,
    }
    return Evaluation(records, facts, failures)


@torch.no_grad()
def score_subject(subject: Subject, tools: Tools, drawn: Tensor | None) -> Iterator[Value]:
    """Every value of one subject; families leave out what the subject has not. drawn: see `draw_scored`."""
    yield from (Value(name, value) for name, value in subject.cost.items())
    yield from image_family(subject, tools.image, drawn)
    yield from views_family(subject, tools.image)
    yield from consistency_family(subject, tools.consistency)
    yield from epipolar_family(subject, tools.epipolar)
    yield from geometry_family(subject, tools.geometry)


def _floor(truth: Truth, tools: Tools, size: tuple[int, int] | None) -> list[Value]:
    """How far ground truth is from ground truth at other poses, by the distances between distributions.

    size: height and width at which the methods' distances are measured; None: as the renders are.
    """
    objects = list(_readable(truth))
    rings = {posed.id: posed.views.on_white() for posed in objects}
    seen = {name: images if size is None else reduced(images, size) for name, images in rings.items()}
    ring = {name: embed_images(tools.encoder, images) for name, images in seen.items()}
    return floor_family(ring, objects[0].rig)


def _readable(truth: Truth) -> Iterator[PosedObject]:
    """The objects whose renders can be read; the others have failed as entries."""
    for name in truth.ids:
        try:
            yield truth.set.load(name)
        except Exception:
            continue


def as_records(row: Record, values: Iterable[Value]) -> list[Record]:
    """Values of one subject as records; `row` gives method, object, seed and protocol."""
    return [replace(row, metric=v.metric, value=v.value, view=v.view, step=v.step) for v in values]


def pixels_sha256(views: Views) -> str:
    """Hash of the 8-bit RGBA pixels."""
    pixels = (views.rgba.clamp(0, 1) * 255).round().byte().numpy()
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
