"""DISK keypoints (Tyszkiewicz et al. 2020, arXiv 2006.13566) and LightGlue, which matches them (Lindenberger
et al. 2023, arXiv 2306.13643).

Both networks are kornia's own classes. kornia would fetch weights by itself, so it is asked for empty
networks, and the ledger's files fill them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.ledger.resolve import missing
from aligncvc.models.ledger.weights import load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

MOST_KEYPOINTS = 1024
"""An image's strongest keypoints on the foreground that are kept."""
LAYERS, DESCRIPTOR = 9, 128
"""Of LightGlue; of DISK."""
DISK_ID, LIGHTGLUE_ID = "disk-depth", "lightglue-disk"
"""In the ledger."""
INSTALL = "install the extra lightglue with `pip install --no-deps -r envs/lightglue.txt`"


class Features(NamedTuple):
    """points (n, 2) in px, centres at half-integers; descriptors (n, 128); size (2,): width and height."""

    points: Tensor
    descriptors: Tensor
    size: Tensor


def _kornia() -> Any:
    """kornia.feature, imported by name: no environment of this project has it unless a user asks for it."""
    try:
        return import_module("kornia.feature")
    except ImportError as error:
        raise UserError(
            f"DISK and LightGlue need the package kornia, which cannot be imported ({error}); {INSTALL}"
        ) from None


class DiskLightGlue(nn.Module):
    """Both networks, frozen, for images of any size. Raises UserError without kornia."""

    def __init__(self) -> None:
        super().__init__()
        kornia = _kornia()
        self.disk = kornia.DISK(DESCRIPTOR)
        with redirect_stdout(StringIO()):  # it prints that it has loaded something
            # pruning saves time, but an image whose points are all pruned ends kornia 0.8.3 in an IndexError
            self.lightglue = kornia.LightGlue(
                None, input_dim=DESCRIPTOR, n_layers=LAYERS, width_confidence=-1
            )
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def keypoints(self, rgba: Tensor, factor: float) -> Features:
        """The strongest of one image (4, H, W) in [0, 1] on white, brought to `factor` times its size.

        Only where alpha exceeds 0.5; colours are taken as they are.
        """
        size = (round(rgba.shape[-2] * factor), round(rgba.shape[-1] * factor))
        image = rgba[None, :3]
        if size != tuple(rgba.shape[-2:]):
            image = F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True)
        (found,) = self.disk(image.clamp(0, 1), pad_if_not_divisible=True)
        mask = F.interpolate(rgba[None, 3:], size, mode="nearest")[0, 0] > 0.5
        column, row = found.keypoints.long().T
        inside = mask[row, column].nonzero()[:, 0]
        kept = inside[found.detection_scores[inside].argsort(descending=True, stable=True)[:MOST_KEYPOINTS]]
        # its positions are indices of pixels
        return Features(found.keypoints[kept] + 0.5, found.descriptors[kept], torch.tensor(size[::-1]))

    @torch.no_grad()
    def match(self, one: Features, other: Features) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n, 2) twice of what LightGlue matches, the first first."""
        if not (len(one.points) and len(other.points)):
            return np.zeros((0, 2)), np.zeros((0, 2))
        first, second = (
            {
                "keypoints": x.points[None] - 0.5,
                "descriptors": x.descriptors[None],
                "image_size": x.size[None],
            }
            for x in (one, other)
        )
        i, j = self.lightglue({"image0": first, "image1": second})["matches"][0].T
        return one.points[i].double().numpy(), other.points[j].double().numpy()


def unavailable(access: CheckpointAccess = CheckpointAccess()) -> str | None:
    """None if both networks can be loaded, else "n/a (...)" and why."""
    if importlib.util.find_spec("kornia") is None:
        return f"n/a (package missing): kornia is not installed; {INSTALL}"
    return missing(DISK_ID, access) or missing(LIGHTGLUE_ID, access)


def load_disk_lightglue(access: CheckpointAccess = CheckpointAccess()) -> DiskLightGlue:
    """Raises UserError if weights or kornia are missing: they come with the extra `lightglue`."""
    model = DiskLightGlue()
    load_strict(model.disk, resolved_state(DISK_ID, access))
    # computed from the number of layers, so no file has it
    computed = {"confidence_thresholds": model.lightglue.confidence_thresholds}
    load_strict(model.lightglue, convert_state(resolved_state(LIGHTGLUE_ID, access)) | computed)
    return model


def convert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published file's keys (`self_attn.3...`) as kornia has them (`transformers.3.self_attn...`).

    `log_assignment.<layer>.r`, a number that no layer of the network reads, is left out.
    """

    def rename(key: str) -> str:
        block, _, rest = key.partition(".")
        if block not in ("self_attn", "cross_attn"):
            return key
        layer, _, leaf = rest.partition(".")
        return f"transformers.{layer}.{block}.{leaf}"

    return {rename(key): value for key, value in state.items() if not key.endswith(".r")}
