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
MIN_CONTRAST = 12 / 255
"""Half of the object differs less from the background: where it ends is then hardly to be seen."""
FULL_BOX = 0.98
"""Share of its box that is opaque above which a cut-out is a rectangle, as a frame or a shadow leaves it."""


def border_share(mask: Tensor) -> float:
    """Share of a picture's outline that lies on the object; mask: (H, W)."""
    border = torch.cat([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    return float(border.float().mean())


def longer_side(mask: Tensor) -> int:
    """Longer side of the box round a mask (H, W) that is not empty, in pixels."""
    return max(
        int(places[-1] - places[0]) + 1 for places in (mask.any(d).nonzero().flatten() for d in (0, 1))
    )


def contrast(rgba: Tensor, mask: Tensor) -> float:
    """How far half of the object is at least from the background's colour, in the channel that tells most."""
    colours, ground = rgba[:3, mask], rgba[:3, ~mask]
    if not ground.numel():
        return 1.0
    return float((colours - ground.median(1, keepdim=True).values).abs().amax(0).median())


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
    if cut_at_px is not None and contrast(rgba, mask) < MIN_CONTRAST:
        said.append(
            "the object has nearly the colour of its background, so that its outline is a guess; put it "
            "before another colour, or give a PNG with a transparent background"
        )
    box = mask[mask.any(1)][:, mask.any(0)]
    if cut_at_px is None and float(box.float().mean()) > FULL_BOX:
        said.append(
            "what is not transparent is a full rectangle and taken as the object; if it is a photograph in a "
            "frame, save it without transparency"
        )
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
