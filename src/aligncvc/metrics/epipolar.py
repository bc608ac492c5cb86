"""Epipolar consistency of posed images: SED, TSED (Yu et al. 2023, arXiv 2304.10700), Sampson distance.

Keypoints that look alike in two views must lie on each other's epipolar lines; how far off they are needs
neither ground truth nor a model. SIFT finds few keypoints on small pictures of furniture, so images are
enlarged first and the number of matches stands beside the distances. Any other `Matcher` may take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from aligncvc.scene.cameras import Cameras

RATIO = 0.8
"""Lowe's ratio test: the best match must be this much nearer than the second."""
CONTRAST_THRESHOLD, EDGE_THRESHOLD = 0.02, 30
"""SIFT's; the edge threshold is that of the paper's code, the contrast is halved for smooth objects."""
MOST_KEYPOINTS = 300
"""An image's strongest keypoints that are kept."""
WHITE = 0.98
"""Generated views have no alpha: a pixel with a channel below this shows the object."""

Keypoints = tuple[np.ndarray, np.ndarray]
"""Pixel positions (n, 2), centres at half-integers, and descriptors (n, 128)."""


class Matcher(NamedTuple):
    """How two views are matched.

    features: of one image (4, H, W) on white, whose alpha masks keypoints, brought to a multiple of its size.
    match: of two images' features the positions (n, 2) twice, in the pixels of that size, centres at
    half-integers.
    """

    features: Callable[[Tensor, float], Any]
    match: Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]


class PairScore(NamedTuple):
    """One pair of views: matches, and the medians of SED and Sampson distance in px (NaN without)."""

    matches: int
    sed_px: float
    sampson_px: float


def ring_summary(scores: Sequence[PairScore], min_matches: int, max_px: float) -> dict[str, float]:
    """Over all pairs: means of the medians, share of consistent pairs (`tsed`), mean number of matches.

    A pair is consistent with at least min_matches (T_m) matches and a median SED below max_px (T_e).
    """
    matches, sed, sampson = np.array(scores, float).T
    with np.errstate(invalid="ignore"):
        consistent = (matches >= min_matches) & (sed < max_px)
    known = ~np.isnan(sed)
    means = [float(x[known].mean()) if known.any() else float("nan") for x in (sed, sampson)]
    names = "sed_px", "sampson_px", "tsed", "matches"
    return dict(zip(names, (*means, float(consistent.mean()), float(matches.mean())), strict=True))


def ring_scores(
    rgba: Tensor, cameras: Cameras, image_px: int, matcher: Matcher | None = None
) -> list[PairScore]:
    """Neighbouring pairs of a closed ring, rgba (V, 4, H, W) on white, whose alpha masks keypoints.

    image_px: width that images are brought to before matching; distances are in its pixels. matcher: SIFT
    if left out.
    """
    matcher = matcher or SIFT
    factor = image_px / rgba.shape[-1]
    features = [matcher.features(image, factor) for image in rgba]
    big = cameras.resized(round(cameras.width * factor), round(cameras.height * factor))
    scores = []
    for i, j in zip(range(len(features)), [*range(1, len(features)), 0], strict=True):
        p, q = matcher.match(features[i], features[j])
        matrix = fundamental(big, i, j)
        distances = [f(p, q, matrix) for f in (symmetric_epipolar_distance, sampson_distance)]
        medians = [float(np.median(x)) if len(p) else float("nan") for x in distances]
        scores.append(PairScore(len(p), *medians))
    return scores


def shown(views: Tensor) -> Tensor:
    """(V, 3, H, W) on white -> (V, 1, H, W): 1 where a view shows the object, else 0."""
    return (views.amin(1, keepdim=True) < WHITE).to(views.dtype)


def keypoints(rgba: Tensor, factor: float) -> Keypoints:
    """SIFT on the foreground of one image (4, H, W), enlarged by `factor`."""
    grey = (rgba[:3] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    size = (round(rgba.shape[-1] * factor), round(rgba.shape[-2] * factor))
    image = cv2.resize((grey.numpy() * 255).round().astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize((rgba[3].numpy() > 0.5).astype(np.uint8) * 255, size, interpolation=cv2.INTER_NEAREST)
    # without precise upscaling every position is a quarter pixel too far right and down
    sift = cv2.SIFT.create(MOST_KEYPOINTS, 3, CONTRAST_THRESHOLD, EDGE_THRESHOLD, enable_precise_upscale=True)
    points, descriptors = sift.detectAndCompute(image, mask)
    if not points:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    return np.array([p.pt for p in points], np.float64) + 0.5, descriptors


def match(one: Keypoints, other: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 2) twice of mutual nearest neighbours that pass the ratio test, the first first."""
    if len(one[0]) < 2 or len(other[0]) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    forward, backward = _nearest(one[1], other[1]), _nearest(other[1], one[1])
    pairs = [(i, j) for i, j in forward.items() if backward.get(j) == i]
    # Several keypoints of one place (other scales or orientations) count once.
    distinct = list({tuple(np.round([*one[0][i], *other[0][j]], 1)): (i, j) for i, j in pairs}.values())
    return one[0][[i for i, _ in distinct]], other[0][[j for _, j in distinct]]


SIFT = Matcher(keypoints, match)
"""The default."""


def _nearest(queries: np.ndarray, targets: np.ndarray) -> dict[int, int]:
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(queries, targets, k=2)
    return {best.queryIdx: best.trainIdx for best, second in pairs if best.distance < RATIO * second.distance}


def fundamental(cameras: Cameras, i: int, j: int) -> np.ndarray:
    """F (3, 3) with q^T F p = 0 for a point seen at p in view i and at q in view j: K^-T [t]x R K^-1."""
    w2c = cameras.w2c.double().numpy()
    rotation = w2c[j, :3, :3] @ w2c[i, :3, :3].T
    t = w2c[j, :3, 3] - rotation @ w2c[i, :3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    inverse = np.linalg.inv(cameras.intrinsics.double().numpy())
    return inverse.T @ cross @ rotation @ inverse


def symmetric_epipolar_distance(p: np.ndarray, q: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """SED (n,) in px: mean of the distances of q to the line of p and of p to the line of q. p, q: (n, 2)."""
    error, in_q, in_p = _lines(p, q, matrix)
    return error * (1 / np.hypot(in_q[:, 0], in_q[:, 1]) + 1 / np.hypot(in_p[:, 0], in_p[:, 1])) / 2


def sampson_distance(p: np.ndarray, q: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """First-order distance (n,) in px of a match to the nearest pair of points that fits exactly."""
    error, in_q, in_p = _lines(p, q, matrix)
    return error / np.sqrt((in_q[:, :2] ** 2).sum(1) + (in_p[:, :2] ** 2).sum(1))


def _lines(p: np.ndarray, q: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|q^T F p| (n,), and the epipolar lines (n, 3) of p in the second view and of q in the first."""
    p, q = (np.concatenate([x, np.ones((len(x), 1))], 1) for x in (p, q))
    return np.abs(np.einsum("ni,ij,nj->n", q, matrix, p)), p @ matrix.T, q @ matrix
