"""What figures and tables read: records by method, samples by object, posed ground truth, training logs."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from aligncvc.config.sections import Config
from aligncvc.errors import UserError
from aligncvc.evaluate.catalogue import CATALOGUE, CONTROL_PREFIX, SET_OBJECT
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record
from aligncvc.evaluate.samples import read_manifest, read_steps, render_model
from aligncvc.evaluate.stats import Interval, interval, samples_of
from aligncvc.scene.renderset import PosedObject, RenderSet
from aligncvc.streams import numpy_stream

Image = np.ndarray
"""(H, W, 3) float32 in [0, 1]."""

Steps = tuple[np.ndarray, np.ndarray]
"""Generated views and renderings of the kept steps, each (K, V, H, W, 3) float32 in [0, 1]."""


UPPER_BOUND = f"{CONTROL_PREFIX}gt"
"""The control made of the true views: what the reconstructor allows at best."""


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


def measured(records: Sequence[Record], metric: str, step: int, seed: int) -> Interval:
    """Mean and 95 % interval of a metric at a step; set-level metrics bring theirs along as records."""
    found = samples_of(records, metric, step)
    known = CATALOGUE.get(metric)
    if known is None or not known.set_level:
        return interval(found, seed, "figure", metric)
    whole = {name: samples_of(records, metric + name, step) for name in ("", "_lo", "_hi")}
    return Interval(*(mean(v for (o, _), v in part.items() if o == SET_OBJECT) for part in whole.values()))


def curve(records: Sequence[Record], metric: str, seed: int) -> list[Interval]:
    """A metric after each kept sampling step 1..K; empty where it was measured at no step."""
    points = [measured(records, metric, k, seed) for k in range(1, last_step(records, metric) + 1)]
    return points if any(not math.isnan(point.mean) for point in points) else []


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
    """Everything behind the figures.

    samples: by method, in the configuration's order; controls: likewise by name (`control:gt`). verdicts:
    whether a metric ranks the controls, by metric: yes, no or n/a. names: of objects, by id.
    """

    config: Config
    records: Mapping[str, list[Record]]
    samples: Mapping[str, SampleSet]
    renders: RenderSet
    controls: Mapping[str, SampleSet] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The sampling seed that is shown: the configuration's first."""
        return self.config.seeds[0]

    @cached_property
    def showcase(self) -> list[PosedObject]:
        """config.paper.showcase objects drawn by the configuration's seed, in the manifest's order."""
        return [self.renders.load(name) for name in drawn_by_seed(self.config, self.renders.ids)]

    @property
    def lead(self) -> str:
        """The method that the figures are about."""
        return lead_method(self.config, list(self.samples))

    @property
    def baseline(self) -> str | None:
        """The two-stage method with most steps, the classic pipeline; None if there is none."""
        methods = self.config.sample.methods
        found = [n for n in self.samples if methods[n].sampler == "two_stage"]
        return max(found, key=lambda name: methods[name].steps, default=None)

    @property
    def compared(self) -> list[str]:
        """The methods of table1, or all where it shows none of them."""
        found = [n for n in self.samples if "table1" in self.config.sample.methods[n].table]
        return found or list(self.samples)

    def folder(self, method: str, posed: PosedObject) -> Path | None:
        """Where the shown seed's sample of a method or control lies, None if that sample failed."""
        found = self.samples.get(method) or self.controls.get(method)
        return None if found is None else found.path(posed.id, self.seed)

    def of(self, method: str) -> list[Record]:
        """All records of a method or control."""
        return list(self.records.get(method, []))

    def label(self, posed: PosedObject) -> str:
        """An object's name for people, else its id."""
        return self.names.get(posed.id, posed.id)

    def steps(self, method: str, posed: PosedObject) -> Steps | None:
        """The kept steps of the shown seed, None if that sample failed."""
        folder = self.folder(method, posed)
        if folder is None:
            return None
        views, renders = read_steps(folder / "steps.npz", posed)
        return views.permute(0, 1, 3, 4, 2).numpy(), renders.permute(0, 1, 3, 4, 2).numpy()

    def drawn(self, method: str, posed: PosedObject, view: int) -> Image | None:
        """model.ply of the shown seed on white at a ring pose, None if that sample failed."""
        folder = self.folder(method, posed)
        if folder is None:
            return None
        return render_model(folder / "model.ply", posed, [view], 1.0)[0].permute(1, 2, 0).numpy()

    def residual(self, method: str, posed: PosedObject, step: int) -> float:
        """Recorded residual_psnr in dB of the shown seed at step 1..K; NaN without a record."""
        shown = [r for r in self.records.get(method, []) if r.seed == self.seed]
        return by_object(shown, "residual_psnr", step).get(posed.id, math.nan)


def lead_method(config: Config, names: Sequence[str]) -> str:
    """Of these methods the one aligned by both losses, in table1 if several are; else the last."""
    methods, both = config.sample.methods, []
    for name in names:
        run = methods[name].run
        if run is not None and config.align.runs[run].soft and config.align.runs[run].hard:
            both.append(name)
    return next((n for n in both if "table1" in methods[n].table), [*names, *both][-1])


def drawn_by_seed(config: Config, ids: Sequence[str]) -> list[str]:
    """config.paper.showcase of these objects, drawn from a named random stream, in their order."""
    order = numpy_stream(config.seed, "showcase").permutation(len(ids))
    return [ids[i] for i in sorted(order[: config.paper.showcase])]


def read_verdicts(path: Path) -> dict[str, str]:
    """Whether each metric ranks the controls (yes, no, n/a), from discrimination.csv. Raises UserError."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return {str(row["metric"]): str(row["discriminates"]) for row in csv.DictReader(handle)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UserError(
            f"{path} does not say which metrics discriminate ({error!r}); check the controls again"
        ) from error


def load_material(
    config: Config,
    records: Iterable[Record],
    manifests: Sequence[Path],
    renders: Path,
    verdicts: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Material:
    """Read the sample manifests, of methods and of controls, and the render manifest.

    Raises UserError for a manifest that is unreadable, of an unknown method, or given twice.
    """
    found: dict[str, SampleSet] = {}
    for manifest in manifests:
        known = read_manifest(manifest.parent)
        method, entries = known.method, known.entries
        if method not in config.sample.methods and not method.startswith(CONTROL_PREFIX):
            raise UserError(
                f"{manifest} holds samples of {method!r}, which sample.methods does not define; "
                "use the configuration that they were sampled with"
            )
        if method in found:
            raise UserError(f"{manifest} and {found[method].folder} are both samples of {method!r}; give one")
        found[method] = SampleSet(method, manifest.parent, entries)
    ordered = {name: found[name] for name in config.sample.methods if name in found}
    if not ordered:
        raise UserError("figures need samples of a method; give --samples with at least one manifest.json")
    controls = {name: found[name] for name in found if name not in ordered}
    return Material(
        config, by_method(records), ordered, RenderSet(renders), controls, dict(verdicts or {}), names or {}
    )


def held_out_view(posed: PosedObject) -> int:
    """The ring index halfway between two rig views: azimuth 135 degrees for a rig of four.

    It lies on the side turned away from the input. Where the ring holds only the rig it is a rig view.
    """
    ring = len(posed.views)
    anchor = posed.rig[max(0, len(posed.rig) // 2 - 1)]
    gap = ring // len(posed.rig)
    return (anchor + gap // 2) % ring


def between_rig(posed: PosedObject) -> list[int]:
    """Ring indices halfway between neighbours of the rig; the rig itself where the ring holds no others."""
    ring = len(posed.views)
    return [(anchor + ring // len(posed.rig) // 2) % ring for anchor in posed.rig]


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
