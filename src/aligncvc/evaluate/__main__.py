"""`python -m aligncvc.evaluate`: samples or predictions against ground truth, as long-form records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config.jobs.evaluate import EvaluateJob, PredictionJob, Up
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.catalogue import CONTROL_PREFIX
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import load_networks
from aligncvc.evaluate.options import Settings
from aligncvc.evaluate.predictions import predicted_method
from aligncvc.evaluate.records import record_files
from aligncvc.evaluate.samples import read_manifest
from aligncvc.evaluate.score import evaluate, sampled_method
from aligncvc.evaluate.set_draws import draws_file
from aligncvc.ownership import claim_files


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
    name: str | None = None
    """Predictions: name of the method, if not the folder's."""
    up: Up = "z"
    """Predictions: the axis that points up in OBJ and PLY files; with y the front is at +z. A GLB is y up."""
    renders: Path | None = None
    """Manifest of the ground-truth renders (default: <results>/renders/eval/manifest.tsv)."""
    objects: Path | None = None
    """Manifest of the objects, whose meshes are the truth of geometry; without it there is none (default:
    <results>/objects/eval/manifest.tsv, or what lies likewise beside --renders, if it is there)."""
    out: Path | None = None
    """CSV of records (default: <results>/metrics/<protocol>/<pair>/<method>.csv), its protocol beside it."""
    force: bool = False
    """Replace files of another origin where the results go."""


def objects_beside(renders: Path) -> Path | None:
    """The manifest of the objects behind <results>/renders/<set>/manifest.tsv, if it is there."""
    beside = renders.resolve().parent
    if beside.parent.name != "renders":
        return None
    objects = beside.parents[1] / "objects" / beside.name / renders.name
    return objects if objects.is_file() else None


COMMAND = Evaluate


def main() -> None:
    arguments = tyro.cli(COMMAND)
    pred, name, up, sample = arguments.pred, arguments.name, arguments.up, arguments.sample
    job: EvaluateJob
    if pred is None and sample is None and arguments.settings is not None:
        job = predicted = PredictionJob.read(arguments.settings)
        pred, name, up = predicted.predictions.path, predicted.method, predicted.predictions.up
        manifest = None
    elif (pred is None) == (sample is None):
        raise UserError(
            "give what is to be scored, either pred/<method> or --sample with a folder that aligncvc.sample "
            "wrote; --renders and --objects only say what it is compared with"
        )
    else:
        manifest = None if sample is None else read_manifest(sample)
        job = arguments.job(EvaluateJob, lambda plan: plan.evaluate(manifest.method if manifest else None))
    renders = arguments.renders or arguments.root / "renders/eval/manifest.tsv"
    objects, rig = arguments.objects or objects_beside(renders), manifest.rig if manifest else None
    if objects is not None and not objects.is_file():
        raise UserError(f"no objects manifest at {objects}; make it with python -m aligncvc.objects")
    truth = GroundTruth(job.protocol, renders, objects, rig)
    if manifest is not None:
        method = sampled_method(manifest, truth)
    elif pred is not None:
        method = predicted_method(pred, truth, job.reserved, name=name, up=up)
    filed = f"{method.name.removeprefix(CONTROL_PREFIX)}.csv"
    out = arguments.out or arguments.root / "metrics" / job.protocol.slug / method.pair / filed
    claim_files([*record_files(out), draws_file(out)], inputs=[renders], force=arguments.force)
    evaluate(method, truth, job, load_networks(job)).write(out, method, truth, job)


if __name__ == "__main__":
    cli(main)
