"""The alignment ladder: how far a model is moved toward the truth before their distance is measured.

`none` leaves it as it is; `scale_centre` fits its size and place; `yaw` also turns it about the vertical,
over 360 degrees; `rotation_icp` also turns it any way, and ends with iterated closest points, whose last
rounds fit the scale. A rung is taken only if it leaves less than the rung below, so residuals never grow: the
Chamfer distance 1/2 (mean + mean), un-squared, of the two thousand points used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

Points = NDArray[np.float64]

RUNGS = ("none", "scale_centre", "yaw", "rotation_icp")

YAW_STEPS_DEG = ((180.0, 6.0), (4.5, 1.5), (1.0, 0.5))
"""Half width and step of the successive searches about the vertical; each starts at the best of the last."""

ROTATIONS, REFINED = 576, 3
"""Rotations that are tried (none is farther than about 25 degrees from one), and that are refined."""

COARSE_POINTS, FINE_POINTS, COMPARED_POINTS = 128, 800, 2000
"""Points of each surface that the search, closest points, and the comparison of candidates look at."""
ROUNDS, SCALED_ROUNDS = 16, 8
"""Rounds of closest points with a fixed scale, and with a free one after them."""


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation. rotation (3, 3) proper, translation (3,)."""

    scale: float
    rotation: Points
    translation: Points

    def __call__(self, points: Points) -> Points:
        """(N, 3) -> (N, 3)."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self, points: Points) -> Points:
        """(N, 3) -> (N, 3): what `self` maps onto `points`."""
        return (points - self.translation) @ self.rotation / self.scale

    def after(self, first: Similarity) -> Similarity:
        """`first`, then this one."""
        translation = self.scale * self.rotation @ first.translation + self.translation
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, translation)

    @property
    def matrix(self) -> Points:
        """(4, 4) homogeneous."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.rotation, self.translation
        return matrix


@dataclass(frozen=True)
class Fit:
    """A rung: what moves the model onto the truth, and the Chamfer distance (half sum) that is left."""

    transform: Similarity
    residual: float


def umeyama(source: Points, target: Points, *, with_scale: bool = True) -> Similarity:
    """Least-squares similarity of matched points (N, 3) (Umeyama 1991); without scale a rigid motion."""
    mean_source, mean_target = source.mean(0), target.mean(0)
    a, b = source - mean_source, target - mean_target
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * signs) @ vt
    spread = (a**2).sum() / len(a)
    scale = float((singular * signs).sum() / spread) if with_scale and spread > 0 else 1.0
    return Similarity(scale, rotation, mean_target - scale * rotation @ mean_source)


def ladder(model: Points, truth: Points, rungs: Sequence[str] = RUNGS) -> dict[str, Fit]:
    """The rungs that are asked for; model, truth: (N, 3), (M, 3) surface points in random order."""
    unknown = sorted(set(rungs) - set(RUNGS))
    if unknown or not len(model) or not len(truth):
        raise ValueError(f"unknown rungs {unknown} of {RUNGS}, or no points to align")
    wanted = [RUNGS.index(rung) for rung in rungs]
    pair = _Pair(model[:COMPARED_POINTS], truth[:COMPARED_POINTS])
    here = pair.fit(Similarity(1.0, np.eye(3), np.zeros(3)))
    found = {"none": here}
    steps = {"scale_centre": _scale_centre, "yaw": _yaw, "rotation_icp": _rotation_icp}
    for name in RUNGS[1 : max(wanted, default=0) + 1]:
        candidates = [pair.fit(transform) for transform in steps[name](pair, here.transform)]
        here = min([here, *candidates], key=lambda fit: fit.residual)
        found[name] = here
    return {rung: found[rung] for rung in rungs}


class _Pair:
    """Both point sets with their trees; a similarity is tried without building a tree anew."""

    def __init__(self, model: Points, truth: Points) -> None:
        self.model, self.truth = model, truth
        self.model_tree, self.truth_tree = cKDTree(model), cKDTree(truth)
        self.model_centre, self.truth_centre = model.mean(0), truth.mean(0)

    def first(self, count: int) -> _Pair:
        """The same with the first `count` points of each (they are random already)."""
        if count >= max(len(self.model), len(self.truth)):
            return self
        return _Pair(self.model[:count], self.truth[:count])

    def residuals(self, transforms: Sequence[Similarity]) -> Points:
        """(T,) Chamfer distances, half sum, of the truth and the moved model."""
        there = self.truth_tree.query(np.concatenate([t(self.model) for t in transforms]))[0]
        back = self.model_tree.query(np.concatenate([t.inverse(self.truth) for t in transforms]))[0]
        scales = np.array([t.scale for t in transforms])
        count = len(transforms)
        return (there.reshape(count, -1).mean(1) + scales * back.reshape(count, -1).mean(1)) / 2

    def fit(self, transform: Similarity) -> Fit:
        return Fit(transform, float(self.residuals([transform])[0]))

    def closest_points(self, start: Similarity, rounds: int, *, with_scale: bool) -> Similarity:
        """Point-to-point ICP. Pairs are taken both ways: one way alone, a free scale shrinks to nothing."""
        now = start
        for _ in range(rounds):
            moved = now(self.model)
            _, there = self.truth_tree.query(moved)
            _, back = self.model_tree.query(now.inverse(self.truth))
            source = np.concatenate([moved, moved[back]])
            target = np.concatenate([self.truth[there], self.truth])
            step = umeyama(source, target, with_scale=with_scale)
            now = step.after(now)
            if np.abs(step.matrix - np.eye(4)).max() < 1e-6:
                break
        return now


def _scale_centre(pair: _Pair, below: Similarity) -> list[Similarity]:
    """Bounding boxes matched (centre, diagonal), and moments."""
    sides = (pair.model, pair.truth)
    boxes = [((p.min(0) + p.max(0)) / 2, float(np.linalg.norm(np.ptp(p, 0)))) for p in sides]
    return [_onto(*boxes), _moments(pair)]


def _moments(pair: _Pair) -> Similarity:
    """Means and root mean square distances from them matched: the same however the model is turned."""
    sides = (pair.model, pair.model_centre), (pair.truth, pair.truth_centre)
    return _onto(*((c, float(np.sqrt(((points - c) ** 2).sum(1).mean()))) for points, c in sides))


def _onto(model: tuple[Points, float], truth: tuple[Points, float]) -> Similarity:
    """Centre and size of the model onto those of the truth; a model without size keeps its own."""
    scale = truth[1] / model[1] if min(model[1], truth[1]) > 0 else 1.0
    return Similarity(scale, np.eye(3), truth[0] - scale * model[0])


def _turned(pair: _Pair, start: Similarity, rotation: Points) -> Similarity:
    """`start`, then a turn about the model's mean, which comes to the truth's."""
    centre = start(pair.model_centre[None])[0]
    return Similarity(1.0, rotation, pair.truth_centre - rotation @ centre).after(start)


def _yaw(pair: _Pair, below: Similarity) -> list[Similarity]:
    """Turned about the vertical, from the rung below and from matched moments (a box changes as it turns)."""
    coarse, found, moments = pair.first(FINE_POINTS // 2), [], _moments(pair)
    for start in (moments,) if np.array_equal(moments.matrix, below.matrix) else (below, moments):
        best = 0.0
        for half, step in YAW_STEPS_DEG:
            angles = best + np.arange(-half, half, step)
            turns = Rotation.from_euler("z", angles[:, None], degrees=True).as_matrix()
            best = float(angles[np.argmin(coarse.residuals([_turned(pair, start, turn) for turn in turns]))])
        found.append(_turned(pair, start, Rotation.from_euler("z", best, degrees=True).as_matrix()))
    return found


def _rotation_icp(pair: _Pair, below: Similarity) -> list[Similarity]:
    """The best of an even grid of rotations and the rung below, each refined by closest points."""
    start, fine = _moments(pair), pair.first(FINE_POINTS)
    grid = [_turned(pair, start, rotation) for rotation in rotation_grid(ROTATIONS)]
    best = np.argsort(pair.first(COARSE_POINTS).residuals(grid), kind="stable")[:REFINED]
    rigid = [fine.closest_points(t, ROUNDS, with_scale=False) for t in (below, *(grid[i] for i in best))]
    order = np.argsort(fine.residuals(rigid), kind="stable")[:2]
    scaled = [fine.closest_points(rigid[i], SCALED_ROUNDS, with_scale=True) for i in order]
    return [*(rigid[i] for i in order), *scaled]


def rotation_grid(count: int) -> Points:
    """(count, 3, 3) rotations spread evenly: super-Fibonacci spirals (Alexa, CVPR 2022)."""
    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(count) + 0.5
    r, big_r = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    quats = np.stack([r * np.sin(alpha), r * np.cos(alpha), big_r * np.sin(beta), big_r * np.cos(beta)], 1)
    return Rotation.from_quat(quats).as_matrix()
