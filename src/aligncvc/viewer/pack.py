"""3D Gaussians as a few bytes each, for web pages, where viewer.js reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from aligncvc.errors import UserError
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import BLUR_PX2

_MIN_SCALE, _MAX_SCALE = 1e-5, 4.0


@dataclass(frozen=True)
class Packed:
    """Quantised Gaussians: `count * 17` bytes and the ranges needed to read them."""

    data: bytes
    count: int
    box: list[list[float]]
    log_scale: list[float]

    @property
    def meta(self) -> dict[str, object]:
        return {"count": self.count, "box": self.box, "log_scale": self.log_scale}


def _steps(values: np.ndarray, low: object, high: object, levels: int) -> np.ndarray:
    """`values` in [low, high] as whole steps 0..levels; a range without width gives 0."""
    width = np.asarray(high, dtype=np.float64) - np.asarray(low, dtype=np.float64)
    return np.rint((values - np.asarray(low)) / np.where(width > 0, width, 1.0) * levels)


def pack(gaussians: Gaussians) -> Packed:
    """Quantise an unbatched set: positions 16 bit, scales (logarithmic), rotation, colour, opacity 8 bit.

    Raises UserError if a value is not finite.
    """
    g = gaussians.detach().to("cpu")
    means, quats = g.means.double().numpy(), g.quats.double().numpy()
    log_scales = g.scales.double().clamp(_MIN_SCALE, _MAX_SCALE).log().numpy()
    rgba = torch.cat([g.colors, g.opacities[:, None]], 1).double().clamp(0, 1).numpy()
    if not all(np.isfinite(a).all() for a in (means, quats, log_scales, rgba)):
        raise UserError("the Gaussians hold values that are not finite; sample the model again")
    if len(means):
        low, high, scale_range = means.min(0), means.max(0), [log_scales.min(), log_scales.max()]
    else:
        low, high, scale_range = np.zeros(3), np.ones(3), [0.0, 1.0]
    quats = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    positions = _steps(means, low, high, 65535).astype("<u2")
    scales = _steps(log_scales, scale_range[0], scale_range[1], 255).astype(np.uint8)
    rotations = np.rint((quats + 1) * 127).astype(np.uint8)
    colours = np.rint(rgba * 255).astype(np.uint8)
    data = b"".join(part.tobytes() for part in (positions, scales, rotations, colours))
    box = [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
    return Packed(data, len(means), box, [float(v) for v in scale_range])


def widen_to_pixels(gaussians: Gaussians, size_px: int, *, distance: float, fov_y_deg: float) -> Gaussians:
    """Widen each Gaussian by what the rasteriser's low-pass filter adds at `size_px`, seen from `distance`.

    A model trained at 64 px relies on that filter; drawn larger without it, it would fall apart into
    needles. The added covariance is isotropic, so it may be added to the scales' squares.
    """
    focal_px = 0.5 * size_px / math.tan(math.radians(fov_y_deg) / 2)
    variance = BLUR_PX2 * (distance / focal_px) ** 2
    return replace(gaussians, scales=(gaussians.scales**2 + variance).sqrt())
