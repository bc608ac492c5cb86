"""Two halves of a rig, each reconstructed by the judge: what split-half and held-out scores compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from aligncvc.scene.cameras import Cameras, relative_c2w
from aligncvc.scene.gaussians import Gaussians
from aligncvc.scene.renderset import batched
from aligncvc.splat import Rendering, rasterise
from aligncvc.splat.constants import ALPHA_MIN

Halves = Literal["adjacent", "even-odd"]

LEAST_VIEWS = 4
"""A rig of fewer has no two halves of at least two views."""


def split(views: int, halves: Halves) -> list[list[int]]:
    """Members of two disjoint halves of a rig, equal in size or one apart; none below LEAST_VIEWS."""
    if views < LEAST_VIEWS:
        return []
    if halves == "even-odd":
        return [list(range(0, views, 2)), list(range(1, views, 2))]
    return [list(range(views // 2)), list(range(views // 2, views))]


def poses_between(ring: int, rig: Sequence[int]) -> list[int]:
    """Of a ring of so many views: midway between each view of a rig and the next; none where two touch."""
    gaps = [min((other - i - 1) % ring for other in rig) + 1 for i in rig]
    return [(i + gap // 2) % ring for i, gap in zip(rig, gaps, strict=True) if gap > 1]


@dataclass(frozen=True)
class HalfModel:
    """The judge's reconstruction (K, N, ..) of a half, in the frame of its first view, `reference`."""

    gaussians: Gaussians
    reference: Tensor

    @staticmethod
    @torch.no_grad()
    def of(judge: nn.Module, views: Tensor, cameras: Cameras, part: list[int]) -> HalfModel:
        """views (K, V, 3, H, W), cameras (V, 4, 4) of the rig; part: members to reconstruct from."""
        reference = cameras.c2w[part[0]]
        turned = replace(cameras[part], c2w=relative_c2w(cameras[part].c2w, reference))
        return HalfModel(judge(views[:, part], batched([turned] * len(views))), reference)

    @torch.no_grad()
    def draw(self, cameras: Cameras) -> Rendering:
        """At cameras (P, 4, 4) of the common frame; members (K, P, ...)."""
        return rasterise(self.gaussians, replace(cameras, c2w=relative_c2w(cameras.c2w, self.reference)))

    def points(self) -> list[Tensor]:
        """Centres of the visible Gaussians of each step, (n, 3), in the common frame."""
        turn = relative_c2w(torch.eye(4)[None], self.reference)[0, :3, :3]  # common frame -> this one
        means = self.gaussians.means @ turn  # its inverse, row vectors
        visible = self.gaussians.opacities > ALPHA_MIN
        return [m[v] for m, v in zip(means, visible, strict=True)]
