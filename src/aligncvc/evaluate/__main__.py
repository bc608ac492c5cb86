"""`python -m aligncvc.evaluate`: samples or predictions against ground truth, as long-form records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.catalogue import CONTROL_PREFIX
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import load_networks
from aligncvc.evaluate.options import Settings
from aligncvc.evaluate.predictions import predicted_method
from aligncvc.evaluate.records import record_files
from aligncvc.evaluate.samples import read_manifest
from aligncvc.evaluate.score import evaluate, sampled_method
from aligncvc.ownership import claim_files

OBJECTS = Path("results/objects/eval/manifest.tsv")


@dataclass
class Evaluate(Settings):
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
    """CSV of records (default results/metrics/<protocol>/<pair>/<method>.csv), its protocol beside it."""
    force: bool = False
    """Replace files of another origin where the results go."""


COMMAND = Evaluate


def main() -> None:
    arguments = tyro.cli(COMMAND)
    pred, sample = arguments.pred, arguments.sample
    if (pred is None) == (sample is None):
        raise UserError("give either pred/<method> or --sample with a folder that aligncvc.sample wrote")
    manifest = None if sample is None else read_manifest(sample)
    job = arguments.job(EvaluateJob, lambda plan: plan.evaluate(manifest.method if manifest else None))
    objects, rig = arguments.objects, manifest.rig if manifest else None
    if objects is not None and not objects.is_file():
        if objects != OBJECTS:
            raise UserError(f"no objects manifest at {objects}; make it with python -m aligncvc.objects")
        objects = None
    truth = GroundTruth(job.protocol, arguments.renders, objects, rig)
    if manifest is not None:
        method = sampled_method(manifest, truth)
    elif pred is not None:
        method = predicted_method(pred, truth, job.reserved)
    name = method.name.removeprefix(CONTROL_PREFIX)
    out = arguments.out or Path("results/metrics") / job.protocol.slug / method.pair / f"{name}.csv"
    claim_files(record_files(out), inputs=[arguments.renders], force=arguments.force)
    evaluate(method, truth, job, load_networks(job)).write(out, method, truth, job)


if __name__ == "__main__":
    cli(main)
