"""MEt3R (Asim et al., arXiv 2501.06336): 1 - cosine of image features that point maps bring together.

Choices that change numbers: the package scores one direction, here both orders are averaged; white background
would count as agreement, so only the first image's foreground counts; neighbours of the closed rig are the
pairs, and their distance decides the level, so numbers of two rigs must not be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.metrics.epipolar import shown
from aligncvc.metrics.psnr import masked_mean

IMAGE_PX = 256
"""The package's default; larger images break its backbone (its issues 2 and 9)."""

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
    foreground = F.interpolate(shown(views), size, mode="nearest")[:, 0]
    orders = [(i, j) for pair in pairs for i, j in (pair, pair[::-1])]
    scores = []
    for i, j in orders:  # one at a time: the backbone is large
        score, overlap = scorer(images[[i, j]][None] * 2 - 1)
        scores.append(masked_mean(score, overlap * foreground[i].to(overlap.device))[0])
    return torch.stack(scores).view(-1, 2).nanmean(1).cpu()
