"""Where a generator's views stand. No torch here: configurations name rigs."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from aligncvc.errors import UserError
from aligncvc.section import Section


def half_width(distance: float, fov_y_deg: float) -> float:
    """What a camera covers above its axis at the world's centre, in the units of `distance`."""
    return distance * math.tan(math.radians(fov_y_deg) / 2)


def fov_covering(half: float, distance: float) -> float:
    """The vertical field of view in degrees that covers a half width at `distance`."""
    return math.degrees(2 * math.atan(half / distance))


class Rig(Section):
    """Where a generator's views stand: the first is the input view, angles count from it."""

    azimuths_deg: list[float] = Field(
        min_length=2, description="degrees, counter-clockwise seen from above, the first 0"
    )
    elevation_deg: float | None = Field(None, gt=-90, lt=90, description="null: as the views are rendered")
    distance: float | None = Field(
        None,
        gt=0,
        description="of the cameras that the generator was trained with, in radii of the object; with "
        "fov_y_deg it says how large objects appear, and the renders are padded or cropped to that; null: as "
        "they are",
    )
    fov_y_deg: float | None = Field(
        None, gt=0, lt=180, description="vertical field of view of those cameras; goes with distance"
    )
    background: float = Field(
        1.0, ge=0, le=1, description="grey value under the renderings that sampling feeds back"
    )

    @model_validator(mode="after")
    def _framed_or_not(self) -> Self:
        if (self.distance is None) != (self.fov_y_deg is None):
            raise ValueError("distance and fov_y_deg go together: give both, or neither")
        return self

    @property
    def half_width(self) -> float | None:
        """What a view covers above its axis at the object's centre, in radii of the object."""
        if self.distance is None or self.fov_y_deg is None:
            return None
        return half_width(self.distance, self.fov_y_deg)

    def indices(self, ring_views: int) -> list[int]:
        """Members of a ring of evenly spaced views, of which view 0 is the input view; UserError if none."""
        steps = [azimuth * ring_views / 360 for azimuth in self.azimuths_deg]
        if any(abs(step - round(step)) > 1e-6 for step in steps):
            raise UserError(
                f"the rig with azimuths {', '.join(f'{a:g}' for a in self.azimuths_deg)} is no part of a "
                f"ring of {ring_views} views; set ring_views (of render and of the protocol) so that the "
                "ring has a view at each of them"
            )
        return [round(step) % ring_views for step in steps]
