"""The Frechet distance of two sets of features, for many weightings of the same rows at once.

d^2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2), with unbiased covariances as in FID. The last trace is
the nuclear norm of the product of the two centred and scaled sets, X1 X2^T / sqrt((n1 - 1) (n2 - 1)): exact
for fewer images than features, where the square root of a singular D x D matrix is neither exact nor cheap.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

_CHUNK_NUMBERS = 1 << 18
_SVD_BUDGET = 4e9


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """(n, D) and (m, D) features -> squared Frechet distance of the Gaussians that fit them. n, m >= 2."""
    ones = [torch.ones(1, len(rows), dtype=torch.float64) for rows in (x, y)]
    return float(frechet_distances(x.double(), y.double(), *ones))


def frechet_distances(x: Tensor, y: Tensor, weights_x: Tensor, weights_y: Tensor) -> Tensor:
    """Distances (B,) of rows that count weights (B, n) and (B, m) times; NaN for fewer than two on a side."""
    gram = max(len(x), len(y)) <= x.shape[1]
    numbers = len(x) * len(y) if gram else (len(x) + len(y)) * x.shape[1]
    batch = max(1, _CHUNK_NUMBERS // numbers)
    solve = partial(_by_gram, x @ x.T, y @ y.T, x @ y.T) if gram else partial(_by_rows, x, y)
    parts = zip(weights_x.split(batch), weights_y.split(batch), strict=True)
    return torch.cat([solve(wx, wy) for wx, wy in parts])


def interval_resamples(x: Tensor, y: Tensor) -> int:
    """Resamples that stay affordable: at most 200, fewer for large sets, never fewer than 100."""
    size = min(max(len(x), len(y)), x.shape[1])
    return int(min(200, max(100, _SVD_BUDGET // size**3)))


def _by_gram(xx: Tensor, yy: Tensor, xy: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
    """Fewer images than features: everything follows from the inner products of the rows."""
    px, py = wx / wx.sum(1, keepdim=True), wy / wy.sum(1, keepdim=True)
    mean_xx, mean_yy = ((p @ gram * p).sum(1) for p, gram in ((px, xx), (py, yy)))
    to_x, to_y = px @ xy, py @ xy.T  # inner products of y's rows with x's mean, and the other way round
    mean_xy = (to_x * py).sum(1)
    cross = xy - to_x[:, None] - to_y[:, :, None] + mean_xy[:, None, None]
    scale_x, scale_y = (w / _degrees(w)[:, None] for w in (wx, wy))
    cross = cross * scale_x.sqrt()[:, :, None] * scale_y.sqrt()[:, None]
    traces = sum(
        (scale * gram.diagonal()).sum(1) - scale.sum(1) * mean
        for scale, gram, mean in ((scale_x, xx, mean_xx), (scale_y, yy, mean_yy))
    )
    return mean_xx + mean_yy - 2 * mean_xy + traces - 2 * _nuclear_norm(cross, wx, wy)


def _by_rows(x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
    """More images than features: triangular factors of the centred rows stand for them."""
    means, factors = [], []
    for rows, w in ((x, wx), (y, wy)):
        mean = w @ rows / w.sum(1, keepdim=True)
        centred = (rows - mean[:, None]) * (w / _degrees(w)[:, None]).sqrt()[:, :, None]
        means.append(mean)
        factors.append(torch.linalg.qr(centred, mode="r").R if len(rows) > rows.shape[1] else centred)
    traces = sum(factor.square().sum((-2, -1)) for factor in factors)
    cross = factors[0] @ factors[1].mT
    return (means[0] - means[1]).square().sum(1) + traces - 2 * _nuclear_norm(cross)


def _degrees(weights: Tensor) -> Tensor:
    """Degrees of freedom, NaN where there are none."""
    degrees = weights.sum(1) - 1
    return degrees.where(degrees > 0, torch.nan)


def _nuclear_norm(matrices: Tensor, wx: Tensor | None = None, wy: Tensor | None = None) -> Tensor:
    """(B, n, m) -> (B,) sums of singular values; NaN where a matrix holds NaN, which LAPACK would refuse.

    wx, wy: how often each row and each column counts. Those that count not at all are zero and are left out:
    over a third of a resample's objects, and the work grows with the third power.
    """
    bad = matrices.isnan().flatten(1).any(1)
    kept = list(matrices.where(~bad[:, None, None], 0.0))
    if wx is not None and wy is not None:
        there = zip(kept, wx > 0, wy > 0, strict=True)
        kept = [matrix[rows][:, columns] for matrix, rows, columns in there]
    values = torch.stack([torch.linalg.svdvals(matrix).sum() for matrix in kept])
    return values.where(~bad, torch.nan)
