"""From trials to records: hand each to every family of metrics, count what failed, score the whole set."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.errors import UserError, reason_of
from aligncvc.evaluate.catalogue import SET_OBJECT
from aligncvc.evaluate.distribution import Features, embed_images, floor_family
from aligncvc.evaluate.epipolar import too_small
from aligncvc.evaluate.families import score_trial, without_value
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record, protocol_file, write_records
from aligncvc.evaluate.samples import SampleManifest, read_cost, read_gaussians, read_steps
from aligncvc.evaluate.set_draws import SetDraws, draws_file, merged
from aligncvc.evaluate.trial import GaussianModel, Trial, Value
from aligncvc.files import sha256_file, write_json, write_provenance
from aligncvc.scene.views import reduced

TRUTH = "control:gt"
"""The control whose views are the ground truth."""


@dataclass(frozen=True)
class Method:
    """All of one method of one pair ("elsewhere" for predictions). inputs: sha256 of their files.

    trials: how each is loaded, by (object, seed); raises UserError with the reason, or anything, if it fails.
    """

    pair: str
    name: str
    trials: Mapping[tuple[str, int], Callable[[], Trial]]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Evaluation:
    """All records of one method, what they were measured by, and why entries failed (by "object/seedN").

    draws: the resampled distances of its set, if there are any.
    """

    records: list[Record]
    facts: dict[str, Any]
    failures: dict[str, str]
    draws: SetDraws | None = None

    def write(self, out: Path, method: Method, truth: GroundTruth, job: EvaluateJob) -> None:
        """The CSV `out`, beside it what it was measured by and the resamples; a report on standard output."""
        for entry, reason in self.failures.items():
            print(f"failed: {entry}: {reason}", file=sys.stderr)
        for metric, reason in self.facts.get("unavailable", {}).items():
            print(f"{metric}: {reason}", file=sys.stderr)
        write_json(protocol_file(out), self.facts)
        if self.draws is not None:
            self.draws.save(draws_file(out))
        inputs = {**method.inputs, "renders": sha256_file(truth.set.manifest)}
        config, failures = job.model_dump(mode="json"), self.failures
        write_provenance(out, inputs=inputs, config=config, seed=job.seed, failures=failures)
        write_records(out, self.records)
        total = len(method.trials)
        print(f"{out}: {len(self.records)} records of {total - len(failures)} of {total} samples")


def sampled_method(manifest: SampleManifest, truth: GroundTruth) -> Method:
    """Every object and seed of the protocol. Raises UserError if the set holds others."""
    wanted = [(name, seed) for name in truth.set.ids for seed in truth.protocol.seeds]
    if strangers := sorted(set(manifest.entries) - set(wanted)):
        name, seed = strangers[0]
        if name not in truth.set.ids:
            raise UserError(
                f"{manifest.folder} holds samples of {name}, which {truth.set.manifest} does not list; give "
                "--renders the manifest of the renders that it was sampled from, or sample from these"
            )
        raise UserError(
            f"{manifest.folder} holds samples that the protocol {truth.protocol.slug} does not ask for, such "
            f"as {name} (seed {seed}); sample the method again with this configuration"
        )
    trials = {key: partial(_read_trial, manifest, truth, *key) for key in wanted}
    inputs = {"sample": sha256_file(manifest.folder / "manifest.json")}
    return Method(manifest.pair, manifest.method, trials, inputs)


def _read_trial(manifest: SampleManifest, truth: GroundTruth, name: str, seed: int) -> Trial:
    posed = truth.load(name)
    folder = manifest.path(name, seed)
    cost = read_cost(folder / "sample.json")
    views, renders = read_steps(folder / "steps.npz", posed, manifest.rig)
    gaussians, surface = read_gaussians(folder / "model.ply"), folder / "model.glb"
    voxel = truth.protocol.metrics.geometry.voxel  # sampling wrote the surface with such cells too
    model = GaussianModel(gaussians, voxel, surface if surface.is_file() else None)
    return truth.trial(posed, seed, views, renders, model, cost)


def evaluate(method: Method, truth: GroundTruth, job: EvaluateJob, networks: Networks) -> Evaluation:
    """Score every trial, then the set as a whole. Raises UserError if nothing could be scored."""
    assert networks.lite0 is not None
    every, unavailable = [Features(networks.lite0, networks.fid)], dict(networks.reasons)
    if networks.lite2 is not None:
        every.append(Features(networks.lite2, name="lite2"))

    def score(trial: Trial) -> list[Value]:
        drawn = trial.draw_scored()
        values = list(score_trial(trial, job, networks, drawn))
        for features in every:
            features.add(trial, drawn)
        unavailable.update(without_value(trial) | too_small(trial, job.protocol.metrics.consistency.tsed))
        return values

    records, failures = score_trials(method, truth, score)
    whole = replace(records[0], object=SET_OBJECT, seed=0, seconds=math.nan, peak_mb=math.nan)
    found = [features.measured(job.seed) for features in every]
    records += as_records(whole, [value for values, _ in found for value in values])
    draws = merged([draws for _, draws in found])
    if method.name == TRUTH:  # once for the render set: embedding every ring for each method costs seconds
        records += as_records(whole, [value for features in every for value in _floor(truth, features)])
    facts = {"ground_truth_sha256": truth.sha256(), "unavailable": unavailable}
    return Evaluation(records, job.protocol.resolved | facts, failures, draws)


def score_trials(
    method: Method, truth: GroundTruth, score: Callable[[Trial], Iterable[Value]]
) -> tuple[list[Record], dict[str, str]]:
    """Records of every trial, and why some failed. Raises UserError if all did.

    A trial that fails, whatever the reason, gets the record `failed` = 1 and nothing else; the others 0.
    """
    dataset, nan = truth.set.manifest.resolve().parent.name, math.nan
    records: list[Record] = []
    failures: dict[str, str] = {}
    for (name, seed), load in method.trials.items():
        row = Record(
            method.name, method.pair, dataset, name, seed, MEAN_VIEW, FINAL_STEP, "failed", 1.0,
            truth.protocol.hash, seconds=nan, peak_mb=nan,
        )  # fmt: skip
        try:
            trial = load()
            row = replace(row, seconds=trial.cost.get("seconds", nan), peak_mb=trial.cost.get("peak_mb", nan))
            records += [*as_records(row, list(score(trial))), replace(row, value=0.0)]
        except Exception as error:  # whatever is wrong with one trial, the others are scored
            failures[f"{name}/seed{seed}"] = reason_of(error)
            records.append(row)
    if len(failures) == len(records):
        reason = next(iter(failures.values()), "there is no entry")
        raise UserError(f"nothing of {method.name} could be scored; the first reason: {reason}")
    return records, failures


def _floor(truth: GroundTruth, features: Features) -> list[Value]:
    """How far ground truth is from itself at other poses, of the objects and at the size that were scored."""
    assert features.size is not None
    ring = {}
    for name in features.truth:
        posed = truth.load(name)
        ring[name] = embed_images(features.encoder, reduced(posed.views.on_white(), features.size))
    return floor_family(ring, posed.rig, features.name)


def as_records(row: Record, values: Iterable[Value]) -> list[Record]:
    """`row` gives method, object, seed and protocol."""
    return [replace(row, metric=v.metric, value=v.value, view=v.view, step=v.step) for v in values]
