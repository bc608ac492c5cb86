"""Where a generator's views stand. No torch here: configurations name rigs."""

from __future__ import annotations

from pydantic import Field

from aligncvc.errors import UserError
from aligncvc.section import Section


class Rig(Section):
    """Where a generator's views stand: the first is the input view, angles count from it."""

    azimuths_deg: list[float] = Field(
        min_length=2, description="degrees, counter-clockwise seen from above, the first 0"
    )
    elevation_deg: float | None = Field(None, gt=-90, lt=90, description="null: as the views are rendered")

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
