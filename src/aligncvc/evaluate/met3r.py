"""`python -m aligncvc.evaluate.met3r`: MEt3R of generated views, with the user's own package, on a GPU.

MEt3R (Asim et al., arXiv 2501.06336, github mohammadasim98/met3r) warps image features of a pair into one
view by the point maps of MASt3R and takes 1 - cosine where both images cover a pixel: 0 is best. Its weights
are CC BY-NC-SA 4.0, so it is optional and asks for their acceptance by name; neither package nor weights come
with this project. Choices that change numbers: the package scores one direction, here both orders are
averaged; white background would count as agreement, so only the first image's foreground counts; neighbours
of the closed rig are the pairs, and their distance decides the level (90 degrees for a rig of four), so
numbers of two rigs must not be compared. The package fetches its weights itself, unchecked by the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from aligncvc.config import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.epipolar import WHITE
from aligncvc.evaluate.records import (
    FINAL_STEP,
    MEAN_VIEW,
    Record,
    protocol_file,
    record_files,
    write_records,
)
from aligncvc.evaluate.samples import read_cost, read_manifest, read_steps
from aligncvc.files import sha256_file, write_json, write_provenance
from aligncvc.ownership import claim_files
from aligncvc.renderset import RenderSet

LICENCE = "CC-BY-NC-SA-4.0"
"""Of the MASt3R and DUSt3R code and weights."""
BACKBONE, FEATURES, IMAGE_PX = "mast3r", "dino16", 256
"""The package's defaults; larger images break the backbone (its issues 2 and 9)."""

Scorer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(B, 2, 3, H, W) in [-1, 1] -> 1 - cosine in the first image's view and overlap in {0, 1}, (B, H, W)."""


def neighbours(views: int) -> list[tuple[int, int]]:
    """Neighbouring members of a closed rig, each pair once. Raises UserError for fewer than two views."""
    if views < 2:
        raise UserError(f"MEt3R compares pairs and the rig has {views} view; use a rig of two views or more")
    return [(i, (i + 1) % views) for i in range(views if views > 2 else 1)]


@torch.no_grad()
def met3r_scores(scorer: Scorer, views: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """MEt3R of each pair, (P,) float64 in [0, 2]: mean of both orders.

    views: (V, 3, H, W) in [0, 1] on white, brought to IMAGE_PX. An order whose foreground nothing overlaps
    has no value; NaN if neither has one.
    """
    size = (IMAGE_PX, IMAGE_PX)
    images = F.interpolate(views, size, mode="bilinear", align_corners=False, antialias=True)
    seen = (views.amin(1, keepdim=True) < WHITE).to(views.dtype)
    foreground = F.interpolate(seen, size, mode="nearest")[:, 0]
    orders = [(i, j) for pair in pairs for i, j in (pair, pair[::-1])]
    scores = []
    for i, j in orders:  # one at a time: the backbone is large
        score, overlap = scorer(images[[i, j]][None] * 2 - 1)
        scores.append(masked_mean(score, overlap * foreground[i].to(overlap.device))[0])
    return torch.stack(scores).view(-1, 2).nanmean(1).cpu()


def masked_mean(score: Tensor, mask: Tensor) -> Tensor:
    """(B, H, W) twice -> (B,) float64 mean where the mask is 1; NaN where it is nowhere."""
    weight = mask.double()
    covered = torch.where(weight > 0, score.double(), 0.0)  # NaN outside the mask must not leak in
    return (covered * weight).sum((-2, -1)) / weight.sum((-2, -1))


def load_scorer(accepted: Sequence[str], offline: bool) -> Scorer:
    """The installed package on the GPU. accepted, offline: checkpoints.accept_licences and .offline.

    Raises UserError unless the licence is accepted, the package is there, a GPU is there and the network is
    allowed (the package fetches its weights itself).
    """
    if LICENCE not in accepted:
        raise UserError(
            f"MEt3R runs on MASt3R, whose code and weights are under {LICENCE} (non-commercial); if you may "
            f"use them, add {LICENCE!r} to checkpoints.accept_licences"
        )
    if not torch.cuda.is_available():
        raise UserError("MEt3R needs a CUDA GPU and this machine has none; run this rule where there is one")
    if offline:
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
    config: Config, sample: Path, renders: Path, scorer: Scorer
) -> tuple[list[Record], dict[str, str]]:
    """Records of the last generated views of every object and seed of the protocol, and why others failed.

    A pair's record has the ring index of its first view; MEAN_VIEW is their mean.
    """
    manifest, truth = read_manifest(sample), RenderSet(renders, config.protocol.render.size_px)
    dataset = renders.resolve().parent.name
    records: list[Record] = []
    failures: dict[str, str] = {}
    for name in truth.ids:
        for seed in config.protocol.seeds:
            try:
                posed, folder = truth.load(name), manifest.path(name, seed)
                views, _ = read_steps(folder / "steps.npz", posed)
                cost = read_cost(folder / "sample.json")
            except UserError as error:
                failures[f"{name}/seed{seed}"] = str(error)
                continue
            row = Record(
                manifest.method, config.pair, dataset, name, seed, MEAN_VIEW, FINAL_STEP, "met3r", math.nan,
                config.protocol.hash, cost["seconds"], cost["peak_mb"],
            )  # fmt: skip
            records += _rows(row, scorer, views[-1], posed.rig)
    if not records:
        reason = next(iter(failures.values()), "there is no object")
        raise UserError(f"nothing of {sample} could be scored; the first reason: {reason}")
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
    config: Path | None = None
    """Configuration; config/config.yaml if left out."""
    force: bool = False
    """Replace files of another origin where the results go."""


def main() -> None:
    arguments = tyro.cli(Met3r, prog="python -m aligncvc.evaluate.met3r")
    config = load_config(arguments.config)
    claim_files(record_files(arguments.out), inputs=[arguments.renders], force=arguments.force)
    scorer = load_scorer(config.checkpoints.accept_licences, config.checkpoints.offline)
    records, failures = met3r_records(config, arguments.sample, arguments.renders, scorer)
    facts = {
        "backbone": BACKBONE, "features": FEATURES, "image_px": IMAGE_PX, "orders": "both, averaged",
        "mask": "overlap and the first image's foreground", "pairs": "neighbours of the closed rig",
    }  # fmt: skip
    write_json(protocol_file(arguments.out), {**config.protocol.resolved, "met3r": facts})
    inputs = {
        "sample": sha256_file(arguments.sample / "manifest.json"),
        "renders": sha256_file(arguments.renders),
    }
    write_provenance(
        arguments.out,
        inputs=inputs,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        failures=failures,
    )
    write_records(arguments.out, records)
    print(f"{arguments.out}: {len(records)} records, {len(failures)} samples failed")


if __name__ == "__main__":
    cli(main)
