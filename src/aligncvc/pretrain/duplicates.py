"""python -m aligncvc.pretrain.duplicates: keep near-duplicates of a set on one side of its split.

Near by name (the words of one contain the two or more words of the other) or by render (rings that coincide,
up to a quarter turn; Blender's, or drawn here of a set that was only fetched). Groups go to one side, by a
hash of a name as in `objects.listing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from aligncvc.errors import UserError, cli
from aligncvc.meshes.draw import draw_mesh
from aligncvc.meshes.files import load_mesh
from aligncvc.objects.curate import BUNDLED, FURNITURE
from aligncvc.objects.listing import (
    ObjectRow,
    base_name,
    forced_splits,
    read_list,
    read_manifest,
    split_of,
    write_list,
)  # fmt: skip
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.views import composite, split_variant

CELLS = 16
"""Views are compared as images of this side."""
RING = 16
"""Views of a ring that is drawn here, as the demo's renders have."""
SAME_SILHOUETTE = 0.035
"""Rings whose alphas differ by less (root mean square) show one shape, whatever its paint."""
SIMILAR_SILHOUETTE, SIMILAR_IMAGE = 0.07, 0.06
"""Rings that differ by less than both, in alpha and in luminance on white, show one thing."""

Pair = tuple[int, int]


def rendered_rings(manifest: Path) -> tuple[list[str], Tensor]:
    """Ids and rings (O, R, 4, CELLS, CELLS) of a rendered set's objects in their original looks."""
    renders = RenderSet(manifest)
    ids = [name for name in renders.ids if split_variant(name)[1] == 0]
    rings = [F.adaptive_avg_pool2d(renders.load(name).views.rgba, CELLS) for name in ids]
    return ids, torch.stack(rings)


def drawn_rings(manifest: Path) -> tuple[list[str], Tensor]:
    """The same of a fetched set's meshes, unlit, seen as the demo's renders are."""
    rows = [row for row in read_manifest(manifest) if row.status == "ok"]
    return [row.id for row in rows], torch.stack([drawn_ring(manifest.parent / row.path) for row in rows])


def drawn_ring(path: Path) -> Tensor:
    """(R, 4, CELLS, CELLS): straight colour and alpha of a mesh that fills the unit sphere."""
    mesh = load_mesh(path)
    centred = mesh.vertices - mesh.bounds.mean(0)
    mesh.vertices = centred / np.linalg.norm(centred, axis=1).max()
    cameras = orbit(ring_azimuths_deg(RING), 10.0, distance=3.0, fov_y_deg=39.6, size_px=2 * CELLS)
    seen = draw_mesh(mesh, cameras, 0.0)
    colour = seen.rgb / seen.alpha.clamp_min(1e-6)
    return F.adaptive_avg_pool2d(torch.cat([colour, seen.alpha], 1), CELLS)


def descriptor(images: Tensor) -> Tensor:
    """(O, R, H, W) -> (O, R, CELLS^2): each view averaged over cells."""
    return F.adaptive_avg_pool2d(images, CELLS).flatten(2)


def ring_distances(descriptors: Tensor) -> Tensor:
    """(O, R, D) -> (O, O): root mean square difference of two rings, the least over quarter turns."""
    flat = descriptors.flatten(1)
    norms = flat.square().sum(1)
    ring = descriptors.shape[1]
    turned = [descriptors.roll(ring * k // 4, 1).flatten(1) for k in range(4)]
    squares = [norms[:, None] + norms[None] - 2 * flat @ other.T for other in turned]
    return (torch.stack(squares).min(0).values.clamp_min(0) / flat.shape[1]).sqrt()


def near_by_render(rgba: Tensor) -> list[Pair]:
    """Index pairs (i < j) of objects whose rings (O, R, 4, H, W) in [0, 1] nearly coincide."""
    shape = ring_distances(descriptor(rgba[:, :, 3]))
    look = ring_distances(descriptor(composite(rgba, 1.0).mean(2)))
    near = (shape < SAME_SILHOUETTE) | ((shape < SIMILAR_SILHOUETTE) & (look < SIMILAR_IMAGE))
    return [(int(i), int(j)) for i, j in near.triu(1).nonzero()]


def near_by_name(names: list[str]) -> list[Pair]:
    """Index pairs of equal base names, or where one contains all of another's two or more words."""
    words = [frozenset(base_name(name).split()) for name in names]

    def alike(i: int, j: int) -> bool:
        small, large = sorted((words[i], words[j]), key=len)
        return small == large or (len(small) >= 2 and small <= large)

    return [(i, j) for j in range(len(names)) for i in range(j) if alike(i, j)]


def groups(count: int, pairs: Iterable[Pair]) -> list[list[int]]:
    """Connected components of `count` items, each sorted, in the order of their first item."""
    edges = np.array(list(pairs), int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    number, labels = connected_components(graph, directed=False)
    return [np.flatnonzero(labels == label).tolist() for label in range(number)]


def sides(rows: list[ObjectRow], pairs: Iterable[Pair], forced: Mapping[str, str]) -> list[ObjectRow]:
    """The rows with the split of their group: the forced one, else its first name's. UserError for two."""
    result = list(rows)
    for group in groups(len(rows), pairs):
        names = sorted(base_name(rows[i].name) for i in group)
        binding = {forced[n] for n in names if n in forced}
        if len(binding) > 1:
            raise UserError(
                f"near-duplicates stand on both sides of the bundled split: {', '.join(names)}; "
                "leave one of them out of the bundled list"
            )
        split = binding.pop() if binding else split_of(names[0], {})
        for i in group:
            result[i] = replace(rows[i], split=split)
    return result


def separate(
    renders: Path | None = None,
    objects: Path | None = None,
    list: Path | None = None,
    bundled: Path | None = None,
) -> None:
    """Rewrite the split column of an object list from the renders, or the meshes, of its objects.

    Args:
        renders: manifest.tsv of the rendered set (only original looks are compared).
        objects: manifest.tsv of the fetched set, if it was not rendered: its meshes are drawn here.
        list: the object list to rewrite; config/objects/furniture.tsv of the checkout if left out.
        bundled: a list whose splits are binding for objects of the same name; config/objects/bundled.tsv of
            the checkout if left out.
    """
    list = list or FURNITURE
    listed = {row.id: row for row in read_list(list)}
    if renders is not None and objects is None:
        ids, rgba = rendered_rings(renders)
    elif objects is not None and renders is None:
        ids, rgba = drawn_rings(objects)
    else:
        raise UserError("give either --renders or --objects, the manifest.tsv of the set")
    known = [i for i, name in enumerate(ids) if name in listed]
    ids, rgba = [ids[i] for i in known], rgba[known]
    rows = [*listed.values()]
    place = {row.id: i for i, row in enumerate(rows)}
    by_render = [(place[ids[i]], place[ids[j]]) for i, j in near_by_render(rgba)]
    pairs = by_render + near_by_name([row.name for row in rows])
    moved = sides(rows, pairs, forced_splits(read_list(bundled or BUNDLED)))
    lines = list.read_text(encoding="utf-8").splitlines()
    comment = "\n".join(line[2:] for line in lines if line.startswith("# "))
    write_list(list, moved, comment)
    for i, j in by_render:
        print(f"alike: {rows[i].id} {rows[j].id}")
    changed = [row.id for row, old in zip(moved, rows, strict=True) if row.split != old.split]
    held_out = sum(row.split == "eval" for row in moved)
    print(f"{len(by_render)} pairs alike by render; {held_out} held out; changed sides: {changed}")


def main() -> None:
    tyro.cli(separate)


if __name__ == "__main__":
    cli(main)
