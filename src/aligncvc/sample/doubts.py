"""What is likely to go wrong with a cut-out that can be handled: sentences that say why, and what to do."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

MAX_SECOND_OBJECT = 0.2
"""Area of the second largest piece over the largest's above which they are called several objects."""
TOUCHING = 0.01
"""Share of the picture's outline on the object above which it touches the edge; less is a stray pixel."""


def border_share(mask: Tensor) -> float:
    """Share of a picture's outline that lies on the object; mask: (H, W)."""
    border = torch.cat([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(border.float().mean())


def longer_side(mask: Tensor) -> int:
    """Longer side of the box round a mask (H, W) that is not empty, in pixels."""
    return max(
        int(places[-1] - places[0]) + 1 for places in (mask.any(d).nonzero().flatten() for d in (0, 1))
    )


def doubts(rgba: Tensor, needed_px: float = 0, cut_at_px: int | None = None) -> list[str]:
    """Sentences about a cut-out (4, H, W).

    needed_px: the object's longer side in the picture that the networks see. cut_at_px: the side at which a
    background was removed, whatever the picture's, so that the outline is no finer; None: it was transparent.
    """
    mask = rgba[3] > 0.5
    said = []
    labels, count = ndimage.label(mask.numpy())
    sizes = np.sort(np.bincount(labels.ravel(), minlength=2)[1:])
    if count > 1 and sizes[-2] > MAX_SECOND_OBJECT * sizes[-1]:
        said.append("the picture shows several things apart; they are taken as one object, so crop it to one")
    if (share := border_share(mask)) > TOUCHING:
        said.append(
            f"the object touches the picture's edge ({share:.0%} of it), and what lies beyond is not "
            "made up; give a picture with some room on all sides"
        )
    side, finest = longer_side(mask), max(mask.shape)
    seen = side if cut_at_px is None else round(side * min(1.0, cut_at_px / finest))
    if seen < needed_px:
        said.append(
            f"the object is small ({side / finest:.0%} of the picture, {seen} pixels where its outline is "
            f"cut out, and the networks see {needed_px:.0f}); crop the picture round it or go nearer"
        )
    return said
