"""`python -m aligncvc.evaluate`: samples or predictions against ground truth, as long-form records."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.catalogue import CONTROL_PREFIX
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import load_networks
from aligncvc.evaluate.predictions import predicted_method
from aligncvc.evaluate.protocol import require_supported
from aligncvc.evaluate.records import protocol_file, write_records
from aligncvc.evaluate.samples import read_manifest
from aligncvc.evaluate.score import Evaluation, Method, evaluate, sampled_method
from aligncvc.files import sha256_file, write_json, write_provenance

OBJECTS = Path("results/objects/eval/manifest.tsv")


@dataclass
class Evaluate:
    """Score samples of one method, or predictions of any, by the protocol.

    Our own:  python -m aligncvc.evaluate --sample results/sample/wonder3d+lgm/aligncvc_4
    Others':  python -m aligncvc.evaluate pred/mymethod
    """

    pred: tyro.conf.Positional[Path | None] = None
    """pred/<method> or pred/<method>/<object>: predictions of others (docs/evaluating-your-method.md)."""
    sample: Path | None = None
    """Folder that `python -m aligncvc.sample` wrote."""
    renders: Path = Path("results/renders/eval/manifest.tsv")
    """Manifest of the ground-truth renders."""
    objects: Path | None = OBJECTS
    """Manifest of the objects, whose meshes are the truth of geometry; without it there is none."""
    out: Path | None = None
    """CSV of records (default results/metrics/<protocol>/<pair>/<method>.csv); the protocol is written beside it."""
    settings: Path | None = None
    """Settings of this job, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from; config/config.yaml if both are left out."""


def main() -> None:
    arguments = tyro.cli(Evaluate, prog="python -m aligncvc.evaluate")
    method, truth, job, inputs = _what_to_score(arguments)
    dataset = arguments.renders.resolve().parent.name
    result = evaluate(method, dataset, truth, job, load_networks(job))
    name = method.name.removeprefix(CONTROL_PREFIX)
    out = arguments.out or Path("results/metrics") / job.protocol.slug / method.pair / f"{name}.csv"
    _report(result)
    write_json(protocol_file(out), result.facts)
    write_provenance(
        out,
        inputs={**inputs, "renders": sha256_file(arguments.renders)},
        config=job.model_dump(mode="json"),
        seed=job.seed,
        failures=result.failures,
    )
    write_records(out, result.records)
    scored = len(method.entries) - len(result.failures)
    print(f"{out}: {len(result.records)} records of {scored} of {len(method.entries)} samples")


def _what_to_score(arguments: Evaluate) -> tuple[Method, GroundTruth, EvaluateJob, dict[str, str]]:
    """The method, its ground truth, the job, and hashes of what the method comes from."""
    sample, pred = arguments.sample, arguments.pred
    if (pred is None) == (sample is None):
        raise UserError("give either pred/<method> or --sample with a folder that aligncvc.sample wrote")
    manifest = None if sample is None else read_manifest(sample)
    if arguments.settings is not None:
        job = EvaluateJob.read(arguments.settings)
    else:
        job = Plan(load_config(arguments.config)).evaluate(None if manifest is None else manifest.method)
    require_supported(job.protocol)
    rig = None if manifest is None else manifest.rig
    truth = GroundTruth(job.protocol, arguments.renders, _existing(arguments.objects), rig)
    if manifest is not None:
        inputs = {"sample": sha256_file(manifest.folder / "manifest.json")}
        return sampled_method(manifest, truth), truth, job, inputs
    assert pred is not None
    method = predicted_method(pred, truth, job.reserved)
    files = sorted(path for path in pred.rglob("*") if path.is_file())
    return method, truth, job, {str(path.relative_to(pred)): sha256_file(path) for path in files}


def _existing(manifest: Path | None) -> Path | None:
    """None for the default manifest that is not there; a path that was given must be there."""
    if manifest is None or manifest.is_file():
        return manifest
    if manifest == OBJECTS:
        return None
    raise UserError(f"no objects manifest at {manifest}; make it with python -m aligncvc.objects")


def _report(result: Evaluation) -> None:
    for entry, reason in result.failures.items():
        print(f"failed: {entry}: {reason}", file=sys.stderr)
    for metric, reason in result.facts["unavailable"].items():
        print(f"{metric}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    cli(main)
