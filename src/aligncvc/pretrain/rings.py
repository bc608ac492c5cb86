"""Rings of many objects in memory, and the batches that training draws from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.home import project_file
from aligncvc.objects.listing import read_list
from aligncvc.scene.cameras import Cameras, relative_c2w
from aligncvc.scene.renderset import IN_TURN, RenderSet
from aligncvc.scene.rigs import Rig
from aligncvc.scene.views import composite, split_variant
from aligncvc.streams import torch_stream

LOOKS = {"original": 0, "coloured": 1}
"""What is scored: objects as they are, and recoloured ones (sizes and headings differ too)."""


@dataclass(frozen=True)
class Batch:
    """B objects: the rig the networks see, and target views of the same ring.

    images (B, V, 3, H, W) on white, the input view first, to which cameras are relative; alpha (B, V, 1, H,
    W); target_rgba (B, T, 4, H, W); depth (B, V, H, W), target_depth (B, T, H, W): 0 without object.
    """

    images: Tensor
    alpha: Tensor
    depth: Tensor
    cameras: Cameras
    target_rgba: Tensor
    target_depth: Tensor
    target_cameras: Cameras


@dataclass(frozen=True)
class Rings:
    """O rendered objects, each look of an object being one.

    rgba (O, R, 4, H, W) uint8; depth (O, R, H, W) float16, 0 without object; rig: the rig's ring offsets.
    """

    ids: list[str]
    rgba: Tensor
    depth: Tensor
    cameras: Cameras
    rig: list[int]

    @property
    def objects(self) -> set[str]:
        return {split_variant(name)[0] for name in self.ids}

    def select(self, objects: Collection[str], looks: Collection[int] | None = None) -> Rings:
        """The rings of these objects, in all looks or in some (0: the object's own)."""
        named = [(i, *split_variant(name)) for i, name in enumerate(self.ids)]
        keep = [i for i, thing, look in named if thing in objects and (looks is None or look in looks)]
        return replace(self, ids=[self.ids[i] for i in keep], rgba=self.rgba[keep], depth=self.depth[keep])

    def by_look(self) -> dict[str, Rings]:
        apart = {name: self.select(self.objects, [look]) for name, look in LOOKS.items()}
        return {name: rings for name, rings in apart.items() if rings.ids}

    def posed(
        self, objects: Tensor, starts: Tensor, offsets: Tensor, mirror: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Cameras]:
        """Views (rgba, depth, relative cameras) at offsets (B, V) from starts (B,) of objects (B,)."""
        index = around_ring(starts, offsets, len(self.cameras), mirror)
        rgba = self.rgba[objects[:, None], index].float() / 255
        depth = self.depth[objects[:, None], index].float()
        if mirror is not None:
            rgba = torch.where(mirror.view(-1, 1, 1, 1, 1), rgba.flip(-1), rgba)
            depth = torch.where(mirror.view(-1, 1, 1, 1), depth.flip(-1), depth)
        at = around_ring(starts, offsets, len(self.cameras))
        c2w = relative_c2w(self.cameras.c2w[at], self.cameras.c2w[starts])
        return rgba, depth, replace(self.cameras, c2w=c2w)

    def batch(self, size: int, targets: int, generator: torch.Generator, recolour: float = 0.5) -> Batch:
        """Random objects, input views and target views, half of them mirrored; `recolour` is the share of
        objects that are given other colours."""
        ring, views = len(self.cameras), len(self.rig)
        objects, starts, mirror = random_rigs(size, len(self.ids), ring, generator)
        chosen = [torch.randperm(ring, generator=generator)[:targets] for _ in range(size)]
        offsets = torch.cat([torch.tensor(self.rig).expand(size, -1), torch.stack(chosen)], 1)
        rgba, depth, cameras = self.posed(objects, starts, offsets, mirror)
        rgba = recoloured(rgba, generator, recolour)
        images, alpha = composite(rgba[:, :views], 1.0), rgba[:, :views, 3:]
        return Batch(
            images,
            alpha,
            depth[:, :views],
            cameras[:views],
            rgba[:, views:],
            depth[:, views:],
            cameras[views:],
        )

    def fixed(self, count: int, offsets: list[int], root_seed: int) -> tuple[Tensor, Cameras]:
        """Views (B, V, 4, H, W) and cameras of the same B <= count held-out cases every time, one a ring."""
        generator = torch_stream(root_seed, "held-out")
        objects = torch.randperm(len(self.ids), generator=generator)[:count]
        starts = torch.randint(len(self.cameras), (len(objects),), generator=generator)
        rgba, _, cameras = self.posed(objects, starts, torch.tensor(offsets).expand(len(objects), -1))
        return rgba, cameras


def recoloured(rgba: Tensor, generator: torch.Generator, share: float = 0.5) -> Tensor:
    """Give `share` of the objects (B, V, 4, H, W) in [0, 1] other colours, the same in all their views."""
    out = rgba.clone()
    for i in range(rgba.shape[0]):
        chosen, gamma, threshold = torch.rand(3, generator=generator).tolist()
        order = torch.randperm(3, generator=generator)
        light, dark = saturated(2, generator)
        if chosen >= share:
            continue
        colours = rgba[i, :, order].clamp_min(1e-4) ** (0.6 + 0.8 * gamma)
        brightness = colours.mean(1, keepdim=True)
        blend = torch.sigmoid(10 * (brightness - 0.2 - 0.6 * threshold))
        tint = blend * light.view(1, 3, 1, 1) + (1 - blend) * dark.view(1, 3, 1, 1)
        out[i, :, :3] = colours * tint
    return out


def saturated(count: int, generator: torch.Generator) -> Tensor:
    """(count, 3) random colours in [0, 1] whose brightest channel is at least 0.5, most of them saturated."""
    hue, saturation, value = torch.rand(3, count, generator=generator)
    phase = (hue[:, None] + torch.tensor([0.0, 1 / 3, 2 / 3])) % 1
    pure = (2 - 6 * (phase - 0.5).abs()).clamp(0, 1)  # a hexagon of hues, as in HSV
    return (0.5 + 0.5 * value[:, None]) * (1 - saturation[:, None].sqrt() * (1 - pure))


def around_ring(starts: Tensor, offsets: Tensor, ring: int, mirror: Tensor | None = None) -> Tensor:
    """Ring indices (B, V) at offsets (B, V) or (V,) from starts (B,); where mirror (B,), backwards."""
    sign = 1 if mirror is None else (1 - 2 * mirror.long())[:, None]
    return (starts[:, None] + sign * offsets) % ring


def random_rigs(
    size: int, objects: int, ring: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(object, input view, whether in a mirror), each (size,), of `objects` rings of `ring` views."""
    drawn = torch.randint(objects, (size,), generator=generator)
    starts = torch.randint(ring, (size,), generator=generator)
    return drawn, starts, torch.rand(size, generator=generator) < 0.5


def joined(sets: Sequence[Rings]) -> Rings:
    """The objects of several sets as one. UserError if an object is in two, or their cameras differ."""
    first, *others = sets
    own = first.cameras
    for cameras in (other.cameras for other in others):
        alike = cameras.c2w.shape == own.c2w.shape and torch.allclose(cameras.c2w, own.c2w, atol=1e-5)
        if not alike or replace(cameras, c2w=own.c2w) != own:
            raise UserError("the sets were rendered by different cameras; render them with one configuration")
    ids = [name for each in sets for name in each.ids]
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise UserError(f"the object {twice[0]} is in two of the sets; take it out of one of the lists")
    rgba, depth = (torch.cat([getattr(each, part) for each in sets]) for part in ("rgba", "depth"))
    return replace(first, ids=ids, rgba=rgba, depth=depth)


def load_rings(manifest: Path | str, rig: Rig, size_px: int | None = None) -> Rings:
    """Read every usable object (about 0.4 MB each at 64 px, 16 views). UserError if one does not fit."""
    renders = RenderSet(manifest, size_px, rig, kept=IN_TURN)
    first = renders.load(renders.ids[0])

    def read(name: str) -> tuple[Tensor, Tensor]:
        views = renders.load(name).views
        if views.depth is None:
            raise UserError(f"{name} in {manifest} was rendered without depth; render it again")
        return (views.rgba * 255).round().byte(), views.depth.half()

    with ThreadPoolExecutor(4) as pool:
        rgba, depth = zip(*pool.map(read, renders.ids), strict=True)
    return Rings(renders.ids, torch.stack(rgba), torch.stack(depth), first.views.cameras, first.rig)


def split_ids(object_lists: Iterable[str]) -> dict[str, set[str]]:
    """{"train": ids, "eval": ids} of object lists (TSVs with columns id and split)."""
    rows = [row for path in object_lists for row in read_list(project_file(path), required=("id", "split"))]
    return {split: {row.id for row in rows if row.split == split} for split in ("train", "eval")}
