"""The rasteriser's conventions, written down once: those of gsplat 1.5.3 in its "classic" mode."""

from __future__ import annotations

BLUR_PX2 = 0.3
"""Added to both variances of a projected Gaussian, so that it never falls between pixels (gsplat: eps2d)."""
ALPHA_MAX = 0.999
"""Largest opacity of one Gaussian at one pixel (gsplat 1.5; the 3DGS paper's code has 0.99)."""
ALPHA_MIN = 1 / 255
"""A Gaussian fainter than this at a pixel is skipped there."""
STOP = 1e-4
"""A pixel is done before the Gaussian that would bring its transmittance to this value or below."""
FRUSTUM_MARGIN = 0.3
"""The Jacobian of the projection is taken at most this fraction of the half image beyond the border."""
