"""`python -m aligncvc.evaluate.met3r`: MEt3R of generated views, with the user's own package, on a GPU.

MEt3R (Asim et al., arXiv 2501.06336) is 1 - cosine of image features that point maps bring together. The
package (github mohammadasim98/met3r) runs on MASt3R, whose weights are CC BY-NC-SA 4.0, so a user accepts
them by name. It fetches them itself, unchecked by the ledger. It scores one direction, here both orders are
averaged; white background would count as agreement, so only the first image's foreground counts; the pairs
are neighbours of the closed rig, so numbers of two rigs must not be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from aligncvc.config.jobs.evaluate import EvaluateJob
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.ground_truth import GroundTruth
from aligncvc.evaluate.options import Settings
from aligncvc.evaluate.records import record_files
from aligncvc.evaluate.samples import read_manifest
from aligncvc.evaluate.score import Evaluation, sampled_method, score_trials
from aligncvc.evaluate.trial import Trial, Value, per_view
from aligncvc.metrics.epipolar import shown
from aligncvc.metrics.psnr import masked_mean
from aligncvc.models.specs import CheckpointAccess
from aligncvc.ownership import claim_files

IMAGE_PX = 256
"""The package's default; larger images break its backbone (its issues 2 and 9)."""

Scorer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(B, 2, 3, H, W) in [-1, 1] -> 1 - cosine in the first image's view and overlap in {0, 1}, (B, H, W)."""
LICENCE = "CC-BY-NC-SA-4.0"
"""Of the MASt3R and DUSt3R code and weights."""
BACKBONE, FEATURES = "mast3r", "dino16"
"""The package's defaults."""
FACTS = {
    "backbone": BACKBONE, "features": FEATURES, "image_px": IMAGE_PX, "orders": "both, averaged",
    "mask": "overlap and the first image's foreground", "pairs": "neighbours of the closed rig",
}  # fmt: skip
"""Written beside the records."""


def load_scorer(access: CheckpointAccess) -> Scorer:
    """The installed package on the GPU. Raises UserError for whatever it lacks."""
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


def neighbours(views: int) -> list[tuple[int, int]]:
    """Neighbouring members of a closed rig, each pair once. Raises UserError for fewer than two views."""
    if views < 2:
        raise UserError(f"MEt3R compares pairs and the rig has {views} view; use a rig of two views or more")
    return [(i, (i + 1) % views) for i in range(views if views > 2 else 1)]


@torch.no_grad()
def met3r_scores(scorer: Scorer, views: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """MEt3R of each pair, (P,) float64 in [0, 2], of views (V, 3, H, W) on white; NaN without overlap."""
    size = (IMAGE_PX, IMAGE_PX)
    images = F.interpolate(views, size, mode="bilinear", align_corners=False, antialias=True)
    foreground = F.interpolate(shown(views), size, mode="nearest")[:, 0]
    orders = [(i, j) for pair in pairs for i, j in (pair, pair[::-1])]
    scores = []
    for i, j in orders:  # one at a time: the backbone is large
        score, overlap = scorer(images[[i, j]][None] * 2 - 1)
        scores.append(masked_mean(score, overlap * foreground[i].to(overlap.device))[0])
    return torch.stack(scores).view(-1, 2).nanmean(1).cpu()


def met3r_family(trial: Trial, scorer: Scorer) -> Iterator[Value]:
    """`met3r` of the last generated views: a pair's at the ring index of its first view, and their mean."""
    if trial.views is not None:
        pairs = neighbours(len(trial.rig))
        scores = met3r_scores(scorer, trial.views[-1], pairs)
        yield from per_view("met3r", scores, [trial.rig[first] for first, _ in pairs])


@dataclass
class Met3r(Settings):
    """Score one method's generated views with MEt3R (optional; needs a GPU and the met3r package)."""

    sample: Path
    """Folder that `python -m aligncvc.sample` wrote."""
    out: Path
    """CSV of records; what it was measured with is written beside it."""
    renders: Path = Path("results/renders/eval/manifest.tsv")
    """Manifest of the ground-truth renders."""
    force: bool = False
    """Replace files of another origin where the results go."""


def main() -> None:
    arguments = tyro.cli(Met3r)
    job = arguments.job(EvaluateJob, Plan.evaluate)
    claim_files(record_files(arguments.out), inputs=[arguments.renders], force=arguments.force)
    manifest = read_manifest(arguments.sample)
    truth = GroundTruth(job.protocol, arguments.renders, None, manifest.rig)
    method, scorer = sampled_method(manifest, truth), load_scorer(job.checkpoints)
    records, failures = score_trials(method, truth, lambda trial: met3r_family(trial, scorer))
    facts = job.protocol.resolved | {"met3r": FACTS}
    found = Evaluation([r for r in records if r.metric == "met3r"], facts, failures)
    found.write(arguments.out, method, truth, job)


if __name__ == "__main__":
    cli(main)
