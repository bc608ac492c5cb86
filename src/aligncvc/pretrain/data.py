"""Rings of many objects in memory, and the batches that training draws from them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.cameras import Cameras, relative_c2w
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.objects.listing import read_list
from aligncvc.renderset import RenderSet
from aligncvc.streams import torch_stream
from aligncvc.views import composite


@dataclass(frozen=True)
class Batch:
    """B objects: the rig the networks see, and target views of the same ring.

    images (B, V, 3, H, W) on white, the input view first; target_rgba (B, T, 4, H, W); cameras are
    relative to the input view.
    """

    images: Tensor
    cameras: Cameras
    target_rgba: Tensor
    target_cameras: Cameras


@dataclass(frozen=True)
class Rings:
    """O objects' rings: rgba (O, R, 4, H, W) uint8, one ring of cameras (R, 4, 4), the rig's ring offsets."""

    ids: list[str]
    rgba: Tensor
    cameras: Cameras
    rig: list[int]

    def select(self, ids: set[str]) -> Rings:
        keep = [i for i, name in enumerate(self.ids) if name in ids]
        return Rings([self.ids[i] for i in keep], self.rgba[keep], self.cameras, self.rig)

    def posed(self, objects: Tensor, starts: Tensor, offsets: Tensor) -> tuple[Tensor, Cameras]:
        """rgba (B, V, 4, H, W) in [0, 1] and cameras (B, V, 4, 4) at ring offsets (B, V) from starts (B,)."""
        index = (starts[:, None] + offsets) % len(self.cameras)
        rgba = self.rgba[objects[:, None], index].float() / 255
        c2w = relative_c2w(self.cameras.c2w[index], self.cameras.c2w[starts])
        c = self.cameras
        return rgba, Cameras(c2w, c.fov_y_deg, c.width, c.height, c.near, c.far)

    def batch(self, size: int, targets: int, generator: torch.Generator, recolour: bool = True) -> Batch:
        """Random objects, input views and target views; `recolour` turns training colours about."""
        ring = len(self.cameras)
        objects = torch.randint(len(self.ids), (size,), generator=generator)
        starts = torch.randint(ring, (size,), generator=generator)
        rig = torch.tensor(self.rig).expand(size, -1)
        chosen = torch.stack([torch.randperm(ring, generator=generator)[:targets] for _ in range(size)])
        rgba, cameras = self.posed(objects, starts, torch.cat([rig, chosen], 1))
        if recolour:
            rgba = recoloured(rgba, generator)
        views = len(self.rig)
        return Batch(
            composite(rgba[:, :views], 1.0),
            cameras[:views],
            rgba[:, views:],
            cameras[views:],
        )

    def fixed(self, count: int, offsets: list[int], root_seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """(objects, starts, offsets) of the same `count` held-out cases every time, at most one an object."""
        generator = torch_stream(root_seed, "held-out")
        objects = torch.randperm(len(self.ids), generator=generator)[:count]
        starts = torch.randint(len(self.cameras), (len(objects),), generator=generator)
        return objects, starts, torch.tensor(offsets).expand(len(objects), -1)


def recoloured(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """Give each object (B, V, 4, H, W) other colours, the same in all its views.

    Channels are permuted, and half the objects tinted and given another gamma: many pieces of the
    furniture package are white, and networks should learn shape.
    """
    out = rgba.clone()
    for i in range(rgba.shape[0]):
        order = torch.randperm(3, generator=generator)
        tint = 0.25 + 0.75 * torch.rand(3, generator=generator)
        gamma = float(0.7 + 0.8 * torch.rand((), generator=generator))
        colours = rgba[i, :, order]
        if float(torch.rand((), generator=generator)) < 0.5:
            colours = colours.clamp_min(1e-4) ** gamma * tint.view(1, 3, 1, 1)
        out[i, :, :3] = colours
    return out


def load_rings(manifest: Path | str) -> Rings:
    """Read every usable object of a render manifest (about 0.26 MB an object at 64 px, 16 views)."""
    renders = RenderSet(manifest)
    first = renders.load(renders.ids[0])

    def read(name: str) -> Tensor:
        return (renders.load(name).views.rgba * 255).round().byte()

    with ThreadPoolExecutor(4) as pool:
        rgba = torch.stack(list(pool.map(read, renders.ids)))
    return Rings(renders.ids, rgba, first.views.cameras, first.rig)


def split_ids(object_list: str | None) -> dict[str, set[str]]:
    """{"train": ids, "eval": ids} of an object list (TSV with columns id and split)."""
    if object_list is None:
        raise UserError(
            "pretraining needs objects.sets.<set>.list, a TSV whose split column holds objects out"
        )
    splits: dict[str, set[str]] = {"train": set(), "eval": set()}
    for row in read_list(PROJECT_ROOT / object_list, required=("id", "split")):
        splits[row.split].add(row.id)
    return splits
