"""What figures and tables read: records by method, samples by object, posed ground truth, training logs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from aligncvc.config import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record
from aligncvc.evaluate.score import read_sample_manifest, read_steps, render_model
from aligncvc.evaluate.stats import interval
from aligncvc.renderset import PosedObject, RenderSet

Image = np.ndarray
"""(H, W, 3) float32 in [0, 1]."""

Steps = tuple[np.ndarray, np.ndarray]
"""Generated views and renderings of the kept steps, each (K, V, H, W, 3) float32 in [0, 1]."""


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers; NaN if there is none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def by_object(records: Iterable[Record], metric: str, step: int = FINAL_STEP) -> dict[str, float]:
    """Each object's value of a metric at a step: the mean over seeds of its means over views.

    Objects without a number are left out.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for r in records:
        if (r.metric, r.step, r.view) == (metric, step, MEAN_VIEW):
            found[r.object].append(r.value)
    means = {name: mean(values) for name, values in found.items()}
    return {name: value for name, value in means.items() if not math.isnan(value)}


def last_step(records: Iterable[Record], metric: str) -> int:
    """The last kept step that has records of a metric; FINAL_STEP if none has."""
    return max((r.step for r in records if r.metric == metric), default=FINAL_STEP)


def by_method(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records of each method, in order of appearance."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.method].append(record)
    return dict(groups)


def bootstrap(values: Sequence[float], seed: int, *names: object) -> tuple[float, float] | None:
    """The 95 % interval of the mean of one value an object (`evaluate.stats`), from a named random stream.

    None for fewer than two objects: one object says nothing about the spread.
    """
    found = interval({(f"{i:06d}", 0): value for i, value in enumerate(values)}, seed, *names)
    return None if math.isnan(found.lo) else (found.lo, found.hi)


@dataclass(frozen=True)
class SampleSet:
    """One method's samples on disk: the folder of each (object, seed)."""

    method: str
    folder: Path
    entries: Mapping[tuple[str, int], str]

    def path(self, name: str, seed: int) -> Path | None:
        """Folder of one sample, None if the method has none."""
        entry = self.entries.get((name, seed))
        return None if entry is None else self.folder / entry


@dataclass(frozen=True)
class Material:
    """Everything behind the figures. samples: by method, in the configuration's order."""

    config: Config
    records: Mapping[str, list[Record]]
    samples: Mapping[str, SampleSet]
    renders: RenderSet

    @property
    def seed(self) -> int:
        """The sampling seed that is shown: the configuration's first."""
        return self.config.seeds[0]

    @cached_property
    def showcase(self) -> list[PosedObject]:
        """The first config.paper.showcase objects of the render manifest: taken in order, not chosen."""
        return [self.renders.load(name) for name in self.renders.ids[: self.config.paper.showcase]]

    @property
    def lead(self) -> str:
        """The method shown step by step: the one aligned by both losses, else the last."""
        for name in self.samples:
            run = self.config.sample.methods[name].run
            if run is not None and self.config.align.runs[run].soft and self.config.align.runs[run].hard:
                return name
        return list(self.samples)[-1]

    def steps(self, method: str, posed: PosedObject) -> Steps | None:
        """The kept steps of the shown seed, None if that sample failed."""
        folder = self.samples[method].path(posed.id, self.seed)
        if folder is None:
            return None
        views, renders = read_steps(folder / "steps.npz", posed)
        return views.permute(0, 1, 3, 4, 2).numpy(), renders.permute(0, 1, 3, 4, 2).numpy()

    def drawn(self, method: str, posed: PosedObject, view: int) -> Image | None:
        """model.ply of the shown seed on white at a ring pose, None if that sample failed."""
        folder = self.samples[method].path(posed.id, self.seed)
        if folder is None:
            return None
        return render_model(folder / "model.ply", posed, [view], 1.0)[0].permute(1, 2, 0).numpy()

    def residual(self, method: str, posed: PosedObject, step: int) -> float:
        """Recorded residual_psnr in dB of the shown seed at step 1..K; NaN without a record."""
        shown = [r for r in self.records.get(method, []) if r.seed == self.seed]
        return by_object(shown, "residual_psnr", step).get(posed.id, math.nan)


def load_material(
    config: Config, records: Iterable[Record], manifests: Sequence[Path], renders: Path
) -> Material:
    """Read the sample manifests and the render manifest.

    Raises UserError for a manifest that is unreadable, of an unknown method, or given twice.
    """
    found: dict[str, SampleSet] = {}
    for manifest in manifests:
        method, entries, _ = read_sample_manifest(manifest.parent)
        if method not in config.sample.methods:
            raise UserError(
                f"{manifest} holds samples of {method!r}, which sample.methods does not define; "
                "use the configuration that they were sampled with"
            )
        if method in found:
            raise UserError(f"{manifest} and {found[method].folder} are both samples of {method!r}; give one")
        found[method] = SampleSet(method, manifest.parent, entries)
    if not found:
        raise UserError("figures need samples; give --samples with at least one manifest.json")
    ordered = {name: found[name] for name in config.sample.methods if name in found}
    return Material(config, by_method(records), ordered, RenderSet(renders))


def held_out_view(posed: PosedObject) -> int:
    """The ring index halfway between two rig views: azimuth 135 degrees for a rig of four.

    It lies on the side turned away from the input. Where the ring holds only the rig it is a rig view.
    """
    ring = len(posed.views)
    anchor = posed.rig[max(0, len(posed.rig) // 2 - 1)]
    gap = ring // len(posed.rig)
    return (anchor + gap // 2) % ring


def truth(posed: PosedObject, view: int) -> Image:
    """The ground-truth render of a ring view on white."""
    return posed.views[view].on_white()[0].permute(1, 2, 0).numpy()


def azimuth_deg(posed: PosedObject, view: int) -> float:
    """Azimuth of a ring view from the input view, in degrees."""
    return (view - posed.rig[0]) % len(posed.views) * 360.0 / len(posed.views)


def read_training(path: Path) -> dict[str, np.ndarray]:
    """A metrics.jsonl as columns: `step` and every number logged (NaN where a step has none).

    Raises UserError for a file that holds no such lines.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not rows or not all(isinstance(row, dict) and "step" in row for row in rows):
            raise ValueError("no object with a step on some line")
        keys = sorted({key for row in rows for key in row})
        return {key: np.array([float(row.get(key, math.nan)) for row in rows]) for key in keys}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no training log ({error}); run the alignment again") from error


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average over `window` values (fewer at the ends), ignoring NaN."""
    known = ~np.isnan(values)
    kernel = np.ones(min(window, len(values)))
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    count = np.convolve(known.astype(np.float64), kernel, "same")
    return np.divide(total, count, out=np.full(len(values), math.nan), where=count > 0.5)
