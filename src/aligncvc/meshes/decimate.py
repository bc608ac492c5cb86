"""Fewer triangles for the same look, of a closed surface that stays closed.

fast-simplification collapses edges by quadric error and lets a surface touch itself: in each of the demo's
twelve models some dozens of edges came out with four faces. Here those get vertices of their own again.
"""

from __future__ import annotations

from typing import Any

import fast_simplification
import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from aligncvc.meshes.paint import Paint

Array = NDArray[Any]
SHARE = 0.1
"""Share of the faces that stays: docs/photographs.md has what it changes."""
AGGRESSION = 5.0
"""How fast fast-simplification lets errors grow; of 4, 5 and 7 (its default) no other looked better."""
GAP = 1e-3
"""Share of the way to its neighbours by which copies of a vertex part: programs merge those at one place."""


def decimated(mesh: trimesh.Trimesh, share: float = SHARE) -> trimesh.Trimesh:
    """A closed mesh with colours -> one with about `share` of its faces or fewer, closed too.

    Vertices have the colour of the nearest one before. The result depends on the mesh alone. share: in
    (0, 1], else ValueError.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share {share} is not in (0, 1]")
    before, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    colours = Paint.of(mesh).baked(faces)
    points, faces = fast_simplification.simplify(
        before, faces, target_count=int(share * len(faces)), agg=AGGRESSION
    )
    points, faces = _vertices_apart(points, _without_folds(faces.astype(np.int64)))
    points, faces = _edges_apart(points, faces)
    nearest = cKDTree(before).query(points)[1]
    small = trimesh.Trimesh(points, faces, process=False)
    Paint(colours[nearest], np.full(len(faces), -1), np.zeros((len(points), 2))).put_on(small)
    return small


def _without_folds(faces: Array) -> Array:
    """Faces without those that lie back to back on the same three vertices: they enclose nothing."""
    row, first = np.arange(len(faces)), faces.argmin(1)
    front = faces[row, (first + 1) % 3] < faces[row, (first + 2) % 3]
    _, triple = np.unique(np.sort(faces, 1), axis=0, return_inverse=True)
    triple = triple.reshape(-1)
    surplus = np.bincount(triple, np.where(front, 1, -1))  # of one side over the other
    key = 2 * triple + front
    order = np.argsort(key, kind="stable")
    rank = np.empty_like(row)
    rank[order] = row - np.searchsorted(key[order], key[order])
    return faces[(rank < abs(surplus[triple])) & (front == (surplus[triple] > 0))]


def _neighbours(points: Array, faces: Array) -> tuple[Array, Array]:
    """Sides of faces that lie on each other: (P,) and (P,) numbers 3 * face + side, in the order of edges.

    Side k runs from corner k to the next. Of an edge with more than two faces those belong together that have
    the solid between them; the faces must be closed, and wound so that normals point outwards.
    """
    start, end, third = (np.roll(faces, -k, 1).reshape(-1) for k in range(3))
    up, low, high = start < end, np.minimum(start, end), np.maximum(start, end)
    along, out = points[high] - points[low], points[third] - points[low]
    across = np.cross(along, np.eye(3)[abs(along).argmin(1)])
    height = (out * np.cross(along, across)).sum(1) / np.linalg.norm(along, axis=1).clip(1e-12)
    angle = np.arctan2(height, (out * across).sum(1))
    edge = low * len(points) + high
    order = np.lexsort((angle, up, edge))
    starts = np.flatnonzero(np.diff(edge[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    one, other = order[starts], order[starts + 1]
    pairs = [(one[counts == 2], other[counts == 2])]
    for at, count in zip(starts[counts > 2], counts[counts > 2], strict=True):
        # what runs down has the solid at the greater angles, and the next that runs up ends it
        down, upward = order[at : at + count // 2], order[at + count // 2 : at + count]
        pairs.append((down, np.roll(upward, -np.searchsorted(angle[upward], angle[down[0]]))))
    one, other = (np.concatenate(sides) for sides in zip(*pairs, strict=True))
    sorted_by_edge = np.argsort(edge[one], kind="stable")
    return one[sorted_by_edge], other[sorted_by_edge]


def _vertices_apart(points: Array, faces: Array) -> tuple[Array, Array]:
    """Each ring of faces round a vertex gets a vertex of its own, a little nearer to the ring."""
    one, other = _neighbours(points, faces)
    ends = (one, one // 3 * 3 + (one + 1) % 3), (other, other // 3 * 3 + (other + 1) % 3)
    links = np.concatenate(ends[0]), np.concatenate(ends[1][::-1])  # the two run against each other
    shape = (3 * len(faces),) * 2
    count, ring = connected_components(coo_matrix((np.ones(len(links[0])), links), shape), directed=False)
    was = np.empty(count, np.int64)
    was[ring] = faces.reshape(-1)
    middle = np.zeros((count, 3))
    np.add.at(middle, ring, np.roll(points[faces], -1, 1).reshape(-1, 3))
    middle /= np.bincount(ring)[:, None]
    copied = np.bincount(was, minlength=len(points))[was] > 1
    return points[was] + GAP * copied[:, None] * (middle - points[was]), ring.reshape(-1, 3)


def _edges_apart(points: Array, faces: Array) -> tuple[Array, Array]:
    """Of edges that still have more than two faces all pairs but one get a corner in the middle."""
    one, other = _neighbours(points, faces)
    places, triangles = list(points), [tuple(face) for face in faces]
    pieces: dict[int, list[int]] = {}

    def ends(side: int) -> tuple[int, int]:
        return faces[side // 3, side % 3], faces[side // 3, (side + 1) % 3]

    seen: set[frozenset[int]] = set()
    for pair in zip(one.tolist(), other.tolist(), strict=True):
        edge = frozenset(ends(pair[0]))
        if edge not in seen:
            seen.add(edge)
            continue
        corners = points[faces[[side // 3 for side in pair]]].reshape(-1, 3)
        straight = points[list(edge)].mean(0)
        places.append(straight + GAP * (corners.mean(0) - straight))
        for side in pair:
            mine = pieces.setdefault(side // 3, [side // 3])
            start, end = ends(side)
            piece = next(i for i in mine if {start, end} <= set(triangles[i]))
            (third,) = set(triangles[piece]) - {start, end}
            triangles[piece] = (start, len(places) - 1, third)
            mine.append(len(triangles))
            triangles.append((len(places) - 1, end, third))
    return np.array(places), np.array(triangles, np.int64)
