"""`python -m aligncvc.evaluate.met3r`: MEt3R of generated views, with the user's own package, on a GPU.

The package (github mohammadasim98/met3r) runs on MASt3R. Its weights are CC BY-NC-SA 4.0, so it is optional and
asks for their acceptance by name; neither package nor weights come with this project. The package fetches its
weights itself, unchecked by the ledger. What is measured: `aligncvc.metrics.met3r`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch import Tensor

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record, protocol_file, write_records
from aligncvc.evaluate.samples import SampleManifest, read_cost, read_manifest, read_steps
from aligncvc.evaluate.score import reason_of
from aligncvc.files import sha256_file, write_json, write_provenance
from aligncvc.metrics.met3r import IMAGE_PX, Scorer, met3r_scores, neighbours
from aligncvc.models.specs import CheckpointAccess

LICENCE = "CC-BY-NC-SA-4.0"
"""Of the MASt3R and DUSt3R code and weights."""
BACKBONE, FEATURES = "mast3r", "dino16"
"""The package's defaults."""


def load_scorer(access: CheckpointAccess) -> Scorer:
    """The installed package on the GPU.

    Raises UserError unless the licence is accepted, the package is there, a GPU is there and the network is
    allowed (the package fetches its weights itself).
    """
    if LICENCE not in access.accept_licences:
        raise UserError(
            f"MEt3R runs on MASt3R, whose code and weights are under {LICENCE} (non-commercial); if you may "
            f"use them, add {LICENCE!r} to checkpoints.accept_licences"
        )
    if not torch.cuda.is_available():
        raise UserError("MEt3R needs a CUDA GPU and this machine has none; run this rule where there is one")
    if access.offline:
        raise UserError(
            "the met3r package fetches its weights itself and checkpoints.offline forbids the network; set "
            "it to false for this rule"
        )
    try:
        from met3r import MEt3R  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(
            f"the package met3r cannot be imported ({error}); install it with its submodules as "
            "github.com/mohammadasim98/met3r says, in the environment that runs this rule"
        ) from error
    metric = MEt3R(img_size=IMAGE_PX, backbone=BACKBONE, feature_backbone=FEATURES).cuda().eval()

    def score(images: Tensor) -> tuple[Tensor, Tensor]:
        _, overlap, score_map = metric(images.cuda(), return_overlap_mask=True, return_score_map=True)[:3]
        return score_map, overlap

    return score


def met3r_records(
    manifest: SampleManifest, truth: GroundTruth, scorer: Scorer
) -> tuple[list[Record], dict[str, str]]:
    """Records of the last generated views of every object and seed of the protocol, and why others failed.

    A pair's record has the ring index of its first view; MEAN_VIEW is their mean. Raises UserError if nothing
    could be scored.
    """
    records: list[Record] = []
    failures: dict[str, str] = {}
    for name in truth.ids:
        for seed in truth.protocol.seeds:
            try:
                posed, folder = truth.load(name), manifest.path(name, seed)
                views, _ = read_steps(folder / "steps.npz", posed)
                cost = read_cost(folder / "sample.json")
                row = Record(
                    manifest.method, manifest.pair, truth.set.manifest.resolve().parent.name, name, seed,
                    MEAN_VIEW, FINAL_STEP, "met3r", math.nan, truth.protocol.hash, cost["seconds"],
                    cost["peak_mb"],
                )  # fmt: skip
                records += _rows(row, scorer, views[-1], posed.rig)
            except Exception as error:  # whatever is wrong with one sample, the others are scored
                failures[f"{name}/seed{seed}"] = reason_of(error)
    if not records:
        reason = next(iter(failures.values()), "there is no object")
        raise UserError(f"nothing of {manifest.folder} could be scored; the first reason: {reason}")
    return records, failures


def _rows(row: Record, scorer: Scorer, views: Tensor, rig: Sequence[int]) -> Iterator[Record]:
    pairs = neighbours(len(rig))
    scores = met3r_scores(scorer, views, pairs)
    for (first, _), value in zip(pairs, scores.tolist(), strict=True):
        yield replace(row, view=rig[first], value=value)
    yield replace(row, value=float(scores.nanmean()))


@dataclass
class Met3r:
    """Score one method's generated views with MEt3R (optional; needs a GPU and the met3r package)."""

    sample: Path
    """Folder that `python -m aligncvc.sample` wrote."""
    out: Path
    """CSV of records; what it was measured with is written beside it."""
    renders: Path = Path("results/renders/eval/manifest.tsv")
    """Manifest of the ground-truth renders."""
    settings: Path | None = None
    """Settings of an evaluation, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from; config/config.yaml if both are left out."""


def main() -> None:
    arguments = tyro.cli(Met3r, prog="python -m aligncvc.evaluate.met3r")
    if arguments.settings is not None:
        job = EvaluateJob.read(arguments.settings)
    else:
        job = Plan(load_config(arguments.config)).evaluate()
    manifest = read_manifest(arguments.sample)
    truth = GroundTruth(job.protocol, arguments.renders, None, manifest.rig)
    records, failures = met3r_records(manifest, truth, load_scorer(job.checkpoints))
    facts = {
        "backbone": BACKBONE, "features": FEATURES, "image_px": IMAGE_PX, "orders": "both, averaged",
        "mask": "overlap and the first image's foreground", "pairs": "neighbours of the closed rig",
    }  # fmt: skip
    write_json(protocol_file(arguments.out), {**job.protocol.resolved, "met3r": facts})
    write_provenance(
        arguments.out,
        inputs={
            "sample": sha256_file(arguments.sample / "manifest.json"),
            "renders": sha256_file(arguments.renders),
        },
        config=job.model_dump(mode="json"),
        seed=job.seed,
        failures=failures,
    )
    write_records(arguments.out, records)
    print(f"{arguments.out}: {len(records)} records, {len(failures)} samples failed")


if __name__ == "__main__":
    cli(main)
