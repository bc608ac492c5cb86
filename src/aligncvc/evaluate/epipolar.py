"""Epipolar consistency: SED and TSED (Yu et al. 2023, arXiv 2304.10700) of posed images.

Keypoints that look alike in two views must lie on each other's epipolar lines, which the known cameras fix;
how far off they are needs neither ground truth nor a model. SIFT finds few keypoints on small pictures of
furniture, and none that two views a quarter turn apart share. So generated views are measured only where
neighbours are at most 45 degrees apart; else renderings of the model at the ring's poses are, which agree by
construction as far as the model is opaque. The number of matches stands beside it, and the controls say
whether it means anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from aligncvc.evaluate.subject import Subject, Value
from aligncvc.scene.cameras import Cameras

RATIO = 0.8
"""Lowe's ratio test: the best match must be this much nearer than the second."""
CONTRAST_THRESHOLD, EDGE_THRESHOLD = 0.02, 30
"""SIFT's; the edge threshold is that of the paper's code, the contrast is halved for smooth objects."""
MOST_KEYPOINTS = 300
"""An image's strongest keypoints that are kept."""
DENSE_RIG = 8
"""A rig with so many views has neighbours at most 45 degrees apart."""
WHITE = 0.98
"""Generated views have no alpha: a pixel with a channel below this shows the object."""


@dataclass(frozen=True)
class EpipolarTools:
    """A pair is consistent with at least min_matches (T_m) matches and a median SED below max_px (T_e).

    px are those of an image of image_px: images of another size are brought to it before SIFT.
    """

    min_matches: int = 10
    max_px: float = 2.0
    image_px: int = 256


@dataclass(frozen=True)
class PairScore:
    """One pair of views: matches, and the medians of SED and Sampson distance in px (NaN without)."""

    matches: int
    sed_px: float
    sampson_px: float


def epipolar_family(subject: Subject, tools: EpipolarTools) -> Iterator[Value]:
    """`sed_px`, `sampson_px` (mean over pairs of medians), `tsed` (share of consistent pairs), `matches`.

    Of generated views after each step where the rig is dense; else of the model's renderings at the ring,
    as FINAL_STEP. Pairs are neighbours of the closed ring. Nothing without either.
    """
    if subject.views is not None and len(subject.rig) >= DENSE_RIG:
        cameras = subject.truth.cameras[subject.rig].resized(*reversed(subject.views.shape[-2:]))
        for step, views in enumerate(subject.views, start=1):
            seen = (views.min(1, keepdim=True).values < WHITE).to(views.dtype)
            scores = ring_scores(torch.cat([views, seen], 1), cameras, tools)
            yield from (replace(value, step=step) for value in summarise(scores, tools))
    elif subject.model is not None:
        with torch.no_grad():
            drawing = subject.model.draw(subject.truth.cameras, 1.0)
        rgba = torch.cat([drawing.rgb.clamp(0, 1), drawing.alpha.clamp(0, 1)], 1)
        yield from summarise(ring_scores(rgba, subject.truth.cameras, tools), tools)


def summarise(scores: Sequence[PairScore], tools: EpipolarTools) -> Iterator[Value]:
    """The pairs' numbers as the family's values; a pair without matches is inconsistent, without distance."""
    sed = np.array([s.sed_px for s in scores])
    sampson = np.array([s.sampson_px for s in scores])
    matches = np.array([s.matches for s in scores])
    with np.errstate(invalid="ignore"):
        consistent = (matches >= tools.min_matches) & (sed < tools.max_px)
    known = ~np.isnan(sed)
    yield Value("sed_px", float(sed[known].mean()) if known.any() else float("nan"))
    yield Value("sampson_px", float(sampson[known].mean()) if known.any() else float("nan"))
    yield Value("tsed", float(consistent.mean()))
    yield Value("matches", float(matches.mean()))


def ring_scores(rgba: Tensor, cameras: Cameras, tools: EpipolarTools) -> list[PairScore]:
    """Neighbouring pairs of a closed ring. rgba: (V, 4, H, W), colours on white; alpha masks keypoints."""
    factor = tools.image_px / rgba.shape[-1]
    features = [keypoints(image, factor) for image in rgba]
    big = cameras.resized(round(cameras.width * factor), round(cameras.height * factor))
    count = len(features)
    scores = []
    for i in range(count):
        j = (i + 1) % count
        p, q = match(features[i], features[j])
        matrix = fundamental(big, i, j)
        if len(p):
            scores.append(
                PairScore(
                    len(p),
                    float(np.median(symmetric_epipolar_distance(p, q, matrix))),
                    float(np.median(sampson_distance(p, q, matrix))),
                )
            )
        else:
            scores.append(PairScore(0, float("nan"), float("nan")))
    return scores


Keypoints = tuple[np.ndarray, np.ndarray]
"""Pixel positions (n, 2), centres at half-integers, and descriptors (n, 128)."""


def keypoints(rgba: Tensor, factor: float) -> Keypoints:
    """SIFT on the foreground of one image (4, H, W), enlarged by `factor`."""
    grey = (rgba[:3] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    size = (round(rgba.shape[-1] * factor), round(rgba.shape[-2] * factor))
    image = cv2.resize((grey.numpy() * 255).round().astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize((rgba[3].numpy() > 0.5).astype(np.uint8) * 255, size, interpolation=cv2.INTER_NEAREST)
    sift = cv2.SIFT.create(
        MOST_KEYPOINTS,
        contrastThreshold=CONTRAST_THRESHOLD,
        edgeThreshold=EDGE_THRESHOLD,
        enable_precise_upscale=True,  # else every position is a quarter pixel too far right and down
    )
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
    p, q = _homogeneous(p), _homogeneous(q)
    error, in_q, in_p = np.abs(np.einsum("ni,ij,nj->n", q, matrix, p)), p @ matrix.T, q @ matrix
    return error * (1 / np.hypot(in_q[:, 0], in_q[:, 1]) + 1 / np.hypot(in_p[:, 0], in_p[:, 1])) / 2


def sampson_distance(p: np.ndarray, q: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """First-order distance (n,) in px of a match to the nearest pair of points that fits exactly."""
    p, q = _homogeneous(p), _homogeneous(q)
    error, in_q, in_p = np.abs(np.einsum("ni,ij,nj->n", q, matrix, p)), p @ matrix.T, q @ matrix
    return error / np.sqrt((in_q[:, :2] ** 2).sum(1) + (in_p[:, :2] ** 2).sum(1))


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones((len(points), 1))], 1)
