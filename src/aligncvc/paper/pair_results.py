"""What the figures of one pair read: its scores, samples, training logs, ground truth at its poses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from aligncvc.config.jobs.paper import PaperJob, Row
from aligncvc.errors import UserError
from aligncvc.evaluate.samples import SampleManifest, read_manifest, read_steps, render_model
from aligncvc.evaluate.scores import Key, Scores, control
from aligncvc.home import project_file
from aligncvc.objects.listing import ObjectRow, credit_of, read_list
from aligncvc.paper.inputs import FigureInputs
from aligncvc.paper.reading import read, read_rankings
from aligncvc.scene.cameras import spherical_deg
from aligncvc.scene.renderset import IN_TURN, PosedObject, RenderSet
from aligncvc.streams import numpy_stream

Steps = tuple[np.ndarray, np.ndarray]
"""Generated views and renderings of the kept steps, each (K, V, H, W, 3) float32 in [0, 1]."""

Log = Mapping[str, np.ndarray]
"""A training log by column: `step` and every number logged, NaN where a step has none."""

UPPER_BOUND = control("gt")
"""The control made of the true views: what the reconstructor allows at best."""

LOOPS = {"two_stage": "two-stage", "aligncvc": "3D-aware"}
"""What people call sampling by its feedback; others go by their own name."""


@dataclass(frozen=True)
class PairResults:
    """Everything behind the figures of one pair.

    samples: by method, in the configuration's order; controls: by control:<name>. rankings: whether a metric
    ranks the controls, by metric: yes, no or n/a. names: of objects, by id. logs: of training, by run.
    credits: `object_credits`.
    """

    pair: str
    job: PaperJob
    scores: Scores
    samples: Mapping[str, SampleManifest]
    renders: RenderSet
    controls: Mapping[str, SampleManifest] = field(default_factory=dict)
    rankings: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, Log] = field(default_factory=dict)
    credits: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> dict[str, Row]:
        """The pair's methods that have samples."""
        own = [row for row in self.job.rows if row.pair == self.pair]
        return {row.method: row for row in own if row.method in self.samples}

    @property
    def seed(self) -> int:
        """The sampling seed that is shown: the protocol's first."""
        return self.job.seeds[0]

    @cached_property
    def showcase(self) -> list[PosedObject]:
        """paper.showcase objects drawn by the seed, in the manifest's order, with the pair's own rig."""
        rig = next(iter(self.samples.values())).rig
        shown = [self.renders.load(name) for name in drawn_by_seed(self.job, self.renders.ids)]
        return [posed.with_rig(rig) for posed in shown] if rig else shown

    @property
    def pictured(self) -> bool:
        """Whether the truth is published pictures at cameras of their own."""
        return self.showcase[0].poses is not None

    @property
    def lead(self) -> str:
        """The method that the figures are about."""
        return lead_row(list(self.rows.values())).method

    @property
    def baseline(self) -> str | None:
        """The two-stage method with most steps, the classic pipeline; None if there is none."""
        two_stage = [name for name, row in self.rows.items() if row.feedback == "two_stage"]
        return max(two_stage, key=lambda name: self.rows[name].steps, default=None)

    @property
    def compared(self) -> list[str]:
        """The methods of table1, or all where it shows none of them."""
        return [name for name, row in self.rows.items() if "table1" in row.tables] or list(self.rows)

    def loop(self, method: str) -> str:
        """What people call the sampling loop of a method."""
        feedback = self.rows[method].feedback
        return LOOPS.get(feedback, feedback)

    def key(self, method: str) -> Key:
        """A method's key among the scores."""
        return Key(self.pair, method)

    def counted(self, methods: Iterable[str]) -> str:
        """How many objects and seeds stand behind the numbers of these methods, in words."""
        return self.scores.counted(map(self.key, methods))

    def label(self, posed: PosedObject) -> str:
        """The object's name for people, else its id."""
        return self.names.get(posed.id, posed.id)

    def manifest(self, method: str) -> SampleManifest:
        return {**self.controls, **self.samples}[method]

    def folder(self, method: str, posed: PosedObject) -> Path | None:
        """Where the shown seed's sample of a method or control lies, None if that sample failed."""
        manifest, sample = self.manifest(method), (posed.id, self.seed)
        return manifest.path(*sample) if sample in manifest.entries else None

    def steps(self, method: str, posed: PosedObject) -> Steps | None:
        """The kept steps of the shown seed, None if that sample failed."""
        if not (folder := self.folder(method, posed)):
            return None
        views, renders = read_steps(folder / "steps.npz", posed, self.manifest(method).rig)
        return pixels_last(views), pixels_last(renders)

    def drawn(self, method: str, posed: PosedObject, view: int) -> np.ndarray | None:
        """model.ply of the shown seed on white at a ring pose, (H, W, 3); None if that sample failed."""
        folder = self.folder(method, posed)
        return pixels_last(render_model(folder / "model.ply", posed, [view], 1.0))[0] if folder else None

    def residual(self, method: str, posed: PosedObject, step: int) -> float:
        """Recorded residual_psnr in dB of the shown seed at step 1..K; NaN without a record."""
        values = self.scores.values(self.key(method), "residual_psnr", step)
        return values.get((posed.id, self.seed), math.nan)

    @property
    def shown(self) -> str:
        """`shown_of` all objects of the showcase."""
        return self.shown_of(len(self.showcase))

    def shown_of(self, count: int) -> str:
        """The sentence that says which objects and samples are shown, and how they were picked."""
        total = len(self.renders)
        how = "drawn by the configuration's seed, not by eye"
        if len(self.showcase) == total:
            how = "the first and the last of the set, not chosen by eye"
        words = f"All {total} objects of the set" if count == total else f"{count} of {total} objects, {how}"
        return f"{words}; sampling seed {self.seed}.{self.thanks}"

    @property
    def thanks(self) -> str:
        """The sentence that names the makers of the showcase's objects, " ..." or "" where none has to be."""
        made: dict[str, list[str]] = {}
        for posed in self.showcase:
            if credit := self.credits.get(posed.id):
                made.setdefault(credit, []).append(self.label(posed))
        return "".join(f" By {credit}: {', '.join(names)}." for credit, names in made.items())


def pixels_last(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) -> (..., H, W, 3)."""
    return images.movedim(-3, -1).numpy()


def lead_row(rows: Sequence[Row]) -> Row:
    """Of these methods the one aligned by both losses, in table1 if several are; else the last."""
    both = [row for row in rows if row.alignment == "both"]
    return next((row for row in both if "table1" in row.tables), [*rows, *both][-1])


def drawn_by_seed(job: PaperJob, ids: Sequence[str]) -> list[str]:
    """paper.showcase of these objects, drawn from a named random stream, in their order."""
    order = numpy_stream(job.seed, "showcase").permutation(len(ids))
    return [ids[i] for i in sorted(order[: job.paper.showcase])]


def object_names(job: PaperJob) -> dict[str, str]:
    """Display names by id, from the object lists that exist."""
    return {row.id: row.name for row in _listed(job) if row.name}


def object_credits(job: PaperJob) -> dict[str, str]:
    """By id, what has to stand beside pictures of the objects whose licences ask for it (`credit_of`)."""
    return {row.id: credit for row in _listed(job) if (credit := credit_of(row.creator, row.licence))}


def _listed(job: PaperJob) -> list[ObjectRow]:
    paths = [path for name in job.object_lists if (path := project_file(name)).exists()]
    return [row for path in sorted(paths) for row in read_list(path, ("id",))]


def read_manifests(job: PaperJob, manifests: Sequence[Path]) -> dict[Key, SampleManifest]:
    """Sample manifests by pair and method, in the configuration's order, controls last.

    Raises UserError for a manifest that is unreadable, of an unknown row, or given twice.
    """
    order = [Key(row.pair, row.method) for row in job.rows]
    known: dict[Key, SampleManifest] = {}
    for path in manifests:
        manifest = read_manifest(path.parent)
        key = Key(manifest.pair, manifest.method)
        if key not in order and not key.control:
            raise UserError(
                f"{path} holds samples of {key.method!r} by the pair {key.pair!r}, which the configuration "
                "does not define; use the configuration that they were sampled with"
            )
        if key in known:
            raise UserError(
                f"{path} and {known[key].folder} are both samples of {key.method!r} by the pair "
                f"{key.pair!r}; give one"
            )
        known[key] = manifest
    return {key: known[key] for key in [*order, *known] if key in known}


def read_log(path: Path) -> Log:
    """A metrics.jsonl as columns. Raises UserError for a file that holds no such lines."""

    def parse(text: str) -> Log:
        rows = pd.DataFrame([json.loads(line) for line in text.splitlines() if line.strip()])
        if rows.empty or "step" not in rows or rows["step"].isna().any():
            raise ValueError("no object with a step on some line")
        return {key: rows[key].to_numpy(np.float64) for key in sorted(rows)}

    return read(path, parse, "is no training log", "run the alignment again")


def read_logs(paths: Sequence[Path], job: PaperJob) -> dict[str, dict[str, Log]]:
    """Training logs by pair and run, whose names the folders bear: <pair>/<run>/metrics.jsonl.

    Raises UserError for a folder of no pair of the configuration, and for a run given twice.
    """
    logs: dict[str, dict[str, Log]] = {pair.name: {} for pair in job.pairs}
    for path in paths:
        run, pair = (folder.name for folder in path.resolve().parents[:2])
        if pair not in logs:
            raise UserError(
                f"{path} lies in no folder of a pair ({', '.join(logs)}); training logs are "
                "align/<pair>/<run>/metrics.jsonl"
            )
        if run in logs[pair]:
            raise UserError(f"two training logs are of the run {run} of {pair}; give one")
        logs[pair][run] = read_log(path)
    return logs


def read_pairs(job: PaperJob, scores: Scores, inputs: FigureInputs) -> list[PairResults]:
    """The results of each pair that has samples, in the configuration's order.

    scores: of all pairs and controls. Raises UserError as read_manifests, read_rankings and read_logs, and if
    no method has samples.
    """
    known = read_manifests(job, inputs.samples)
    controls = {key.method: manifest for key, manifest in known.items() if key.control}
    if len(controls) == len(known):
        raise UserError("figures need samples of a method; give --samples with at least one manifest.json")
    samples: dict[str, dict[str, SampleManifest]] = {}
    for key, manifest in known.items():
        if not key.control:
            samples.setdefault(key.pair, {})[key.method] = manifest
    truth, rankings = RenderSet(inputs.renders, kept=IN_TURN), read_rankings(inputs.discrimination)
    logs, names, credits = read_logs(inputs.align, job), object_names(job), object_credits(job)
    return [
        PairResults(pair, job, scores, own, truth, controls, rankings, names, logs[pair], credits)
        for pair, own in samples.items()
    ]


def between_rig(posed: PosedObject) -> list[int]:
    """Ring indices halfway between neighbours of the rig; the rig itself where the ring holds no others.

    Of published pictures all but the input.
    """
    if posed.poses is not None:
        return [view for view in range(len(posed.views)) if view not in posed.rig]
    ring, following = len(posed.views), [*posed.rig[1:], posed.rig[0] + len(posed.views)]
    return [(a + (b - a) // 2) % ring for a, b in zip(posed.rig, following, strict=True)]


def held_out_view(posed: PosedObject) -> int:
    """The ring index halfway between two rig views: azimuth 135 degrees for a rig of four.

    It lies on the side turned away from the input. Where the ring holds only the rig it is a rig view. Of
    published pictures it is the first that faces the input's side least.
    """
    if posed.poses is not None:
        places = posed.views.cameras.positions
        facing = places @ places[posed.rig[0]]
        return min(between_rig(posed), key=lambda view: round(float(facing[view]), 2))
    return between_rig(posed)[max(0, len(posed.rig) // 2 - 1)]


def truth(posed: PosedObject, view: int) -> np.ndarray:
    """The ground-truth render of a ring view on white, (H, W, 3) in [0, 1]."""
    return pixels_last(posed.views[view].on_white())[0]


def degrees(posed: PosedObject, view: int) -> str:
    """Azimuth of a ring view from the input view."""
    if posed.poses is not None:
        azimuth = spherical_deg(posed.views.cameras)[0]
        return f"{round(float(azimuth[view] - azimuth[posed.rig[0]])) % 360}°"
    return f"{(view - posed.rig[0]) % len(posed.views) * 360.0 / len(posed.views):g}°"
