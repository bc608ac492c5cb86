"""Cameras of predictions: read from any convention, and found again among the protocol's poses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.files import read_text
from aligncvc.scene import camera_formats as formats
from aligncvc.scene.cameras import CONVENTION, Cameras, spherical_deg

TOLERANCE_DEG, TOLERANCE_CENTRE, TOLERANCE_FOV_DEG = 0.1, 0.005, 0.05
"""Predicted and protocol poses are one if rotation, centre (unit-sphere radii) and field of view differ by no
more: a shift of about half a pixel at 256 px, and more than rounding to three decimals costs."""


def _matrix(data: Mapping[str, Any], key: str, *shape: int) -> Tensor:
    """(V, *shape) float64. Raises ValueError for another shape."""
    values = torch.tensor(data[key], dtype=torch.float64)
    if values.shape[1:] != shape or not len(values):
        raise ValueError(f"{key} has shape {tuple(values.shape)}, expected (V, {', '.join(map(str, shape))})")
    return values


_TO_C2W: dict[str, Callable[[Mapping[str, Any]], Tensor]] = {
    CONVENTION: lambda data: _matrix(data, "c2w", 4, 4),
    "opengl": lambda data: formats.from_opengl(_matrix(data, "c2w", 4, 4)),
    "lgm": lambda data: formats.from_lgm(_matrix(data, "c2w", 4, 4)),
    "wonder3d": lambda data: formats.from_wonder3d(_matrix(data, "w2c", 3, 4)),
    "pytorch3d": lambda data: formats.from_pytorch3d(_matrix(data, "R", 3, 3), _matrix(data, "T", 3)),
}
CONVENTIONS = (*_TO_C2W, "gobjaverse")
"""Values of the key `convention`; what each means: `aligncvc.scene.camera_formats`."""


def read_cameras(path: Path) -> Cameras:
    """cameras.json of a prediction -> cameras (V, 4, 4), float32, in this project's convention.

    Keys: convention (one of CONVENTIONS), width, height, fov_y_deg, and the poses as _TO_C2W reads them; for
    `gobjaverse` no fov_y_deg and views, a list of mappings with x, y, z, origin, y_fov. Raises UserError.
    """
    try:
        data = json.loads(read_text(path))
        convention, width, height = data["convention"], int(data["width"]), int(data["height"])
        if convention not in CONVENTIONS:
            raise UserError(
                f"{path} has cameras of convention {convention!r}, which is not known; use one of "
                f"{', '.join(CONVENTIONS)}"
            )
        if convention == "gobjaverse":
            return formats.from_gobjaverse(data["views"], width, height)
        fov = float(data["fov_y_deg"])
        if not (0 < fov < 180 and min(width, height) > 0):
            raise ValueError(f"fov_y_deg {fov}, width {width}, height {height}")
        return Cameras(_TO_C2W[convention](data).float(), fov, width, height)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a readable cameras.json ({error!r}); it needs convention, width, height, "
            "fov_y_deg and the poses, as docs/evaluating-your-method.md shows"
        ) from error


def distances(found: Cameras, wanted: Cameras) -> tuple[Tensor, Tensor]:
    """How far each found camera is from each wanted one: (W, F) degrees of rotation, (W, F) of centres."""
    a, b = wanted.c2w.double()[:, None], found.c2w.double()[None]
    # |A - B|_F = 2 sqrt(2) sin(angle / 2): exact near 0, where arccos of the trace is not
    difference = (a[..., :3, :3] - b[..., :3, :3]).flatten(2).norm(dim=2)
    degrees = (2 * (difference / math.sqrt(8)).clamp_max(1).asin()).rad2deg()
    return degrees, (a[..., :3, 3] - b[..., :3, 3]).norm(dim=2)


def match_poses(found: Cameras, wanted: Cameras, where: str) -> list[int]:
    """The found camera that stands at each wanted pose. Raises UserError that lists poses without one."""
    if abs(found.fov_y_deg - wanted.fov_y_deg) > TOLERANCE_FOV_DEG:
        raise UserError(
            f"{where} has a vertical field of view of {found.fov_y_deg:g} degrees and the protocol one of "
            f"{wanted.fov_y_deg:g}; make the images with the protocol's cameras"
        )
    degrees, centres = distances(found, wanted)
    worse = torch.maximum(degrees / TOLERANCE_DEG, centres / TOLERANCE_CENTRE)
    nearest = worse.argmin(1)
    missing = [i for i in range(len(wanted)) if worse[i, nearest[i]] > 1]
    if missing:
        azimuth, elevation, distance = (x.tolist() for x in spherical_deg(wanted))
        listing = "; ".join(
            f"azimuth {azimuth[i]:g}, elevation {elevation[i]:g}, distance {distance[i]:g} (nearest: "
            f"{int(nearest[i]):03d}.png, {degrees[i, nearest[i]]:.2f} degrees and "
            f"{centres[i, nearest[i]]:.3f} away)"
            for i in missing
        )
        raise UserError(
            f"{where} has no image within {TOLERANCE_DEG:g} degrees and {TOLERANCE_CENTRE:g} of "
            f"{len(missing)} of the protocol's {len(wanted)} poses: {listing}; make the images there (input "
            "view at azimuth 0), or leave them out, which leaves the metrics of views out"
        )
    return nearest.tolist()
