"""`python -m aligncvc.evaluate.renderings`: what a verdict needs and records lack, as records of their own.

Sharpness tells agreement from blur, which raises every consistency score in PSNR (docs/metrics.md). And
whether renderings agree better than generated views is asked of one instrument: the judge reconstructs two
halves of the renderings as if a generator had drawn them (`evaluate.families`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.objects import EVALUATION_SET
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.coherence import coherence_family
from aligncvc.evaluate.families import Metric, halves_family, image_metrics
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.networks import Networks
from aligncvc.evaluate.options import Settings
from aligncvc.evaluate.records import FINAL_STEP, MEAN_VIEW, Record, write_records
from aligncvc.evaluate.samples import SampleManifest, read_manifest, read_steps
from aligncvc.models.pair import load_reconstructor
from aligncvc.ownership import claim_files
from aligncvc.scene.views import at_common_size

RENDERINGS = "renderings:"
"""Prefix of the methods that are renderings, judged as if a generator had drawn them."""

KEPT = ("heldout_psnr", "heldout_ssim", "split_psnr", "split_ssim")
"""Metrics of judged renderings that are kept, means over views."""

COHERENT = ("silhouette_coherence", "hull_psnr")
"""Those of renderings that need no judge."""


def sharpness(images: Tensor, truth: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels' brightness, as a share of ground truth's.

    images, truth: (V, 3, H, W) in [0, 1] at the same poses. 1: as much detail as the truth; NaN where the
    truth is flat. Noise counts as detail: read it beside PSNR.
    """
    return _roughness(images) / level if (level := _roughness(truth)) > 0 else math.nan


def _roughness(images: Tensor) -> float:
    grey = images.double().mean(1)
    across, down = grey.diff(dim=-1).abs().mean(), grey.diff(dim=-2).abs().mean()
    return float(across + down) / 2


@torch.no_grad()
def measure(
    manifest: SampleManifest, truth: GroundTruth, judge: nn.Module | None, metrics: Mapping[str, Metric]
) -> Iterator[Record]:
    """`sharpness` and `views_sharpness` of every sample's last step at the rig, where there is truth;
    `silhouette_coherence` of its last renderings under RENDERINGS + method, and with a judge KEPT of them.

    Samples that failed or cannot be read are left out, as in the records of the evaluation.
    """
    protocol = truth.protocol
    for name, seed in sorted(manifest.entries):
        try:
            posed = truth.load(name)
            steps = manifest.path(name, seed) / "steps.npz"
            views, drawn = read_steps(steps, posed, manifest.rig)
        except UserError:
            continue
        row = Record(
            manifest.method, manifest.pair, EVALUATION_SET, name, seed, MEAN_VIEW, FINAL_STEP, "", math.nan,
            protocol.hash, math.nan, math.nan,
        )  # fmt: skip
        views, drawn, true_views = at_common_size(views[-1:], drawn[-1:], posed.views.on_white())
        for metric, images in (("sharpness", drawn), ("views_sharpness", views)):  # judged alike
            if posed.poses is None:
                yield replace(row, metric=metric, value=sharpness(images[-1], true_views[posed.rig]))
        trial = truth.trial(posed, seed, drawn, None, None, {})
        for value in coherence_family(trial, "last"):
            if value.metric in COHERENT and value.view == MEAN_VIEW:
                method = RENDERINGS + manifest.method
                yield replace(row, method=method, metric=value.metric, value=value.value)
        if judge is not None:
            for value in halves_family(trial, metrics, judge, protocol.metrics.consistency.halves, "last"):
                if value.metric in KEPT and value.view == MEAN_VIEW:
                    method = RENDERINGS + manifest.method
                    yield replace(row, method=method, metric=value.metric, value=value.value)


@dataclass
class Renderings(Settings):
    """Measure one sample set's sharpness; if its evaluation measures curves, judge its renderings as if a
    generator had drawn them."""

    sample: Path
    """Folder of the sample set."""
    out: Path
    """CSV of records to write."""
    renders: Path = Path("results/renders/eval/manifest.tsv")
    """Manifest of the ground-truth renders."""
    force: bool = False
    """Replace `out` even if it is of another origin."""


def main() -> None:
    arguments = tyro.cli(Renderings)
    claim_files([arguments.out], inputs=[arguments.renders], force=arguments.force)
    manifest = read_manifest(arguments.sample)
    job = arguments.job(EvaluateJob, lambda plan: plan.evaluate(manifest.method))
    judge = load_reconstructor(job.judge, job.seed, job.checkpoints) if job.curves else None
    truth = GroundTruth(job.protocol, arguments.renders, None, manifest.rig)
    write_records(
        arguments.out, measure(manifest, truth, judge, image_metrics(Networks(), job.protocol.metrics))
    )


if __name__ == "__main__":
    cli(main)
