"""What one training step is made of: which objects, which input views, how many steps to unroll.

Every choice is drawn from a named stream (root seed, "align", step, slot), so it depends neither on what
ran before nor on how the slots are spread over processes, and all runs of an ablation see the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aligncvc.loop.unroll import view_noise
from aligncvc.scene.cameras import Cameras
from aligncvc.scene.renderset import RenderSet, batched
from aligncvc.scene.views import composite
from aligncvc.streams import torch_stream


@dataclass(frozen=True)
class Batch:
    """B objects: ground-truth rig views (B, V, 4, H, W), the input view first, and one stream name each.

    novel (B, N, 4, H, W): further members of each object's ring, which no network is shown.
    """

    rgba: Tensor
    cameras: Cameras
    novel: Tensor
    novel_cameras: Cameras
    names: list[tuple[object, ...]]

    @property
    def views(self) -> Tensor:
        """(B, V, 3, H, W): the rig on white."""
        return composite(self.rgba, 1.0)

    @property
    def image(self) -> Tensor:
        """(B, 3, H, W): the condition."""
        return self.views[:, 0]

    def noise(self, shape: tuple[int, ...], seed: int, *names: object) -> Tensor:
        """Standard normal latents (B, V, C, h, w) from each object's streams, on the batch's device."""
        rows = [view_noise(shape, seed, *own, *names) for own in self.names]
        return torch.stack(rows).to(self.views.device)


def draw_batch(
    renders: RenderSet, seed: int, step: int | str, slots: range, device: torch.device | str, novel: int = 0
) -> Batch:
    """Objects for the slots of one step (or of a named batch), each with a random input view."""
    rigs, others = [], []
    names: list[tuple[object, ...]] = [("align", step, slot) for slot in slots]
    for slot in slots:
        random = torch_stream(seed, "align", step, slot, "object")
        item = renders.load(renders.ids[int(torch.randint(len(renders), (), generator=random))])
        start = int(torch.randint(len(item.views), (), generator=random))
        rigs.append(item.ring_from(start, item.rig))
        order = torch.randperm(len(item.between), generator=random).tolist()
        others.append(item.ring_from(start, [item.between[i] for i in order[:novel]]))
    return Batch(*_stacked(rigs, device), *_stacked(others, device), names)


def _stacked(posed: list[tuple[Tensor, Cameras]], device: torch.device | str) -> tuple[Tensor, Cameras]:
    images, cameras = zip(*posed, strict=True)
    return torch.stack(images).to(device), batched(list(cameras)).to(device)


def unrolled_steps(seed: int, step: int, total: int, *, stratified: bool = False) -> int:
    """k in {1..K}: the sampling step that receives a gradient; the k - 1 before it run without.

    stratified: K steps in a row, from a multiple of K on, have each k once, in random order.
    """
    if stratified:
        block = torch_stream(seed, "align", step // total, "k stratified")
        return 1 + int(torch.randperm(total, generator=block)[step % total])
    random = torch_stream(seed, "align", step, "k")
    return 1 + int(torch.randint(total, (), generator=random))
