"""What one training step is made of: which objects, which input views, how many steps to unroll.

Every choice is drawn from a named stream (root seed, "align", step, slot), so it depends neither on what
ran before nor on how the slots are spread over processes, and all runs of an ablation see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        moved = {
            name: getattr(self, name).to(device) for name in ("rgba", "cameras", "novel", "novel_cameras")
        }
        return replace(self, **moved)

    def noise(self, shape: tuple[int, ...], seed: int, *names: object) -> Tensor:
        """Standard normal latents (B, V, C, h, w) from each object's streams, on the batch's device."""
        rows = [view_noise(shape, seed, *own, *names) for own in self.names]
        return torch.stack(rows).to(self.views.device)


def draw_batch(
    renders: RenderSet,
    seed: int,
    step: int | str,
    slots: range,
    device: torch.device | str,
    novel: int = 0,
    total: int | None = None,
) -> Batch:
    """Objects for the slots of one step (or of a named batch), each with a random input view.

    total: slots of the step in all processes. Objects in folders are drawn at random; those in archives come
    in the order of the set's walk, in which slot s of step n is the (n total + s)th.
    """
    rigs, others = [], []
    names: list[tuple[object, ...]] = [("align", step, slot) for slot in slots]
    for slot in slots:
        random = torch_stream(seed, "align", step, slot, "object")
        drawn = int(torch.randint(len(renders), (), generator=random))
        walk = renders.walk(seed)
        if walk is not None and not isinstance(step, str):
            drawn = walk.at(step * (total or len(slots)) + slot)
        item = renders.at(drawn)
        start = int(torch.randint(len(item.views), (), generator=random))
        rigs.append(item.ring_from(start, item.rig))
        order = torch.randperm(len(item.between), generator=random).tolist()
        others.append(item.ring_from(start, [item.between[i] for i in order[:novel]]))
    return Batch(*_stacked(rigs, device), *_stacked(others, device), names)


class BatchesAhead:
    """The batches of consecutive steps, read by processes of their own while the step before is computed.

    Each batch is a function of its step, so it is the same whoever reads it and however many there are.
    """

    def __init__(self, draw: Callable[[int], Batch], steps: int, readers: int) -> None:
        """draw: a step's batch, on the CPU. steps: how many there are. readers: processes; 0: none."""
        self.draw, self.steps, self.readers = draw, steps, readers
        self._ahead: Iterator[tuple[int, Batch]] = iter(())

    def at(self, step: int) -> Batch:
        """The batch of a step; the steps after it are read ahead."""
        if self.readers == 0:
            return self.draw(step)
        found = next(self._ahead, None)
        if found is None or found[0] != step:  # the first, or another than the next
            self._ahead = iter(self._loader(step))
            found = next(self._ahead)
        return found[1]

    def _loader(self, start: int) -> DataLoader[tuple[int, Batch]]:
        steps = _Steps(self.draw, range(start, self.steps))
        return DataLoader(steps, batch_size=None, num_workers=self.readers, collate_fn=_as_it_is)


class _Steps(Dataset[tuple[int, Batch]]):
    def __init__(self, draw: Callable[[int], Batch], steps: range) -> None:
        self.draw, self.steps = draw, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[int, Batch]:
        return self.steps[index], self.draw(self.steps[index])


def _as_it_is(batch: Any) -> Any:
    return batch


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
