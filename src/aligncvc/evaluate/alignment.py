"""The alignment ladder: how a predicted surface is laid over the true one before distances are taken.

Papers align differently, and by how much they align decides the distances. So every rung is reported, the
same for all methods, with what it leaves:

    none          as it is; what a method with controlled poses is read at
    scale_centre  centroid and root-mean-square radius fitted
    yaw           ... and the best turn about the vertical, searched all round
    rotation_icp  ... and the best rotation, then iterated closest points, with scale in the last rounds

A rung that would fit worse than the one below keeps that one, so residuals never grow along the ladder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

Points = NDArray[np.float64]
"""(N, 3)."""

RUNGS = ("none", "scale_centre", "yaw", "rotation_icp")
"""From the least to the most that is fitted."""

SEARCH_POINTS = 400
"""Points of each surface that searches compare."""
YAW_STEP_DEG, YAW_FINE_DEG = 10.0, 2.0
ICP_STARTS, ICP_ROUNDS, ICP_SCALED_ROUNDS = 3, 12, 4


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Points
    translation: Points

    def __call__(self, points: Points) -> Points:
        """(N, 3) -> (N, 3)."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self) -> Similarity:
        turned = self.rotation.T
        return Similarity(1 / self.scale, turned, -turned @ self.translation / self.scale)

    def then(self, other: Similarity) -> Similarity:
        """First this one, then the other."""
        return Similarity(
            self.scale * other.scale, other.rotation @ self.rotation, other(self.translation[None])[0]
        )


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class Fit:
    """A rung's transform of the prediction, and the residual it leaves (mean of both directions)."""

    transform: Similarity
    residual: float


def ladder(prediction: Points, truth: Points, rungs: Sequence[str] = RUNGS) -> dict[str, Fit]:
    """Fit each asked rung; those below are fitted too where they are needed.

    prediction, truth: (N, 3), (M, 3) samples of both surfaces, in any order that is itself random: searches
    take the first ones. Raises ValueError for an unknown rung or an empty set.
    """
    unknown = set(rungs) - set(RUNGS)
    if unknown or not len(prediction) or not len(truth):
        raise ValueError(f"unknown rungs {sorted(unknown)} or no points")
    pair = _Pair.of(prediction[:SEARCH_POINTS], truth[:SEARCH_POINTS])
    steps: dict[str, Callable[[Similarity], Similarity]] = {
        "scale_centre": lambda _: scale_centre(prediction, truth),
        "yaw": lambda below: best_yaw(pair, below),
        "rotation_icp": lambda below: best_rotation(pair, below),
    }
    highest = max(RUNGS.index(rung) for rung in rungs)
    fits = {"none": Fit(IDENTITY, pair.residual(IDENTITY))}
    below = fits["none"]
    for rung in RUNGS[1 : highest + 1]:
        found = steps[rung](below.transform)
        candidate = Fit(found, pair.residual(found))
        below = fits[rung] = candidate if candidate.residual < below.residual else below
    return {rung: fits[rung] for rung in rungs}


def scale_centre(prediction: Points, truth: Points) -> Similarity:
    """Equal centroids and root-mean-square radii."""
    centre, goal = prediction.mean(0), truth.mean(0)
    radii = [np.sqrt(((p - c) ** 2).sum(1).mean()) for p, c in ((prediction, centre), (truth, goal))]
    scale = float(radii[1] / radii[0]) if radii[0] > 0 else 1.0
    return Similarity(scale, np.eye(3), goal - scale * centre)


def best_yaw(pair: _Pair, below: Similarity) -> Similarity:
    """The best turn about the vertical through the truth's centre, to YAW_FINE_DEG."""

    def turn(degrees: float) -> Similarity:
        return _about(pair.centre, Rotation.from_euler("z", degrees, degrees=True).as_matrix(), below)

    coarse = min(np.arange(0, 360, YAW_STEP_DEG), key=lambda a: pair.residual(turn(a)))
    fine = np.arange(-YAW_STEP_DEG / 2, YAW_STEP_DEG / 2 + 1e-9, YAW_FINE_DEG) + coarse
    return turn(min(fine, key=lambda a: pair.residual(turn(a))))


def best_rotation(pair: _Pair, below: Similarity) -> Similarity:
    """The best of the icosahedron's 60 rotations (none is further than 45 degrees), and ICP from there."""
    turns = Rotation.create_group("I").as_matrix()
    starts = [below, *(_about(pair.centre, turn, below) for turn in turns)]
    ranked = sorted(starts, key=pair.residual)[:ICP_STARTS]
    return min((icp(pair, start) for start in ranked), key=pair.residual)


def icp(pair: _Pair, start: Similarity) -> Similarity:
    """Point-to-point ICP over matches in both directions; scale is fitted in the last rounds only."""
    current = best = start
    least = pair.residual(start)
    for round_ in range(ICP_ROUNDS):
        source, target = pair.matches(current)
        current = umeyama(
            source, target, with_scale=round_ >= ICP_ROUNDS - ICP_SCALED_ROUNDS, scale=current.scale
        )
        residual = pair.residual(current)
        if residual < least:
            best, least = current, residual
    return best


def umeyama(source: Points, target: Points, *, with_scale: bool = True, scale: float = 1.0) -> Similarity:
    """Least-squares similarity of matched points (Umeyama 1991); with_scale False keeps `scale`."""
    centre, goal = source.mean(0), target.mean(0)
    a, b = source - centre, target - goal
    u, values, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u * signs @ vt
    if with_scale:
        spread = float((a**2).sum())
        scale = float((values * signs).sum()) / spread if spread > 0 else scale
    return Similarity(scale, rotation, goal - scale * rotation @ centre)


def _about(centre: Points, rotation: Points, first: Similarity) -> Similarity:
    """`first`, then a rotation about a point."""
    return first.then(Similarity(1.0, rotation, centre - rotation @ centre))


@dataclass(frozen=True)
class _Pair:
    """Both point sets with their trees: moving one is asking the other's tree, and the inverse's own."""

    prediction: Points
    truth: Points
    prediction_tree: cKDTree
    truth_tree: cKDTree
    centre: Points

    @staticmethod
    def of(prediction: Points, truth: Points) -> _Pair:
        return _Pair(prediction, truth, cKDTree(prediction), cKDTree(truth), truth.mean(0))

    def residual(self, transform: Similarity) -> float:
        """1/2 (mean + mean) of nearest distances once the prediction is moved, in the truth's units."""
        to_truth = self.truth_tree.query(transform(self.prediction))[0].mean()
        to_prediction = (
            self.prediction_tree.query(transform.inverse()(self.truth))[0].mean() * transform.scale
        )
        return float(to_truth + to_prediction) / 2

    def matches(self, transform: Similarity) -> tuple[Points, Points]:
        """Matched points, predicted and true, from both directions."""
        forward = self.truth_tree.query(transform(self.prediction))[1]
        backward = self.prediction_tree.query(transform.inverse()(self.truth))[1]
        return (
            np.concatenate([self.prediction, self.prediction[backward]]),
            np.concatenate([self.truth[forward], self.truth]),
        )
