"""Spherical harmonics up to degree 3, as in 3DGS files: colours that change with the direction of view."""

from __future__ import annotations

import torch
from torch import Tensor

from aligncvc.scene.gaussians import SH_C0

_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
_C3 = (
    *(-0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154),
    *(-0.4570457994644658, 1.445305721320277, -0.5900435899266435),
)


def basis(directions: Tensor, count: int) -> Tensor:
    """(..., 3) unit vectors -> the first `count` <= 16 real harmonics (..., count), as 3DGS signs them."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    terms = [
        torch.full_like(x, SH_C0), -_C1 * y, _C1 * z, -_C1 * x,
        _C2[0] * x * y, _C2[1] * y * z, _C2[2] * (2 * zz - xx - yy), _C2[3] * x * z, _C2[4] * (xx - yy),
        _C3[0] * y * (3 * xx - yy), _C3[1] * x * y * z, _C3[2] * y * (4 * zz - xx - yy),
        _C3[3] * z * (2 * zz - 3 * xx - 3 * yy), _C3[4] * x * (4 * zz - xx - yy), _C3[5] * z * (xx - yy),
        _C3[6] * x * (xx - 3 * yy),
    ]  # fmt: skip
    return torch.stack(terms[:count], -1)


def colours_from(harmonics: Tensor, means: Tensor, centres: Tensor) -> Tensor:
    """Colours (V, N, 3) >= 0 of (N, K, 3) coefficients at means (N, 3), seen from centres (V, 3)."""
    directions = torch.nn.functional.normalize(means - centres[:, None], dim=-1)
    weights = basis(directions, harmonics.shape[1])
    return (0.5 + torch.einsum("vnk,nkc->vnc", weights, harmonics)).clamp_min(0)
