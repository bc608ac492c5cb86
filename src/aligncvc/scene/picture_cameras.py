"""Posed pictures in place of renders: the cameras that took them. No torch here: protocols name them."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from aligncvc.section import Section


class Pictures(Section):
    """Published pictures in place of renders: the cameras that took them, and which is the input view.

    Without defaults: Snakemake cannot fill them into a section that may be null.
    """

    input: int = Field(ge=0, description="number of the picture that is the input; the others are truth")
    width: int = Field(ge=16, description="of every picture, in pixels")
    height: int = Field(ge=16, description="of every picture, in pixels")
    focal_px: float = Field(gt=0, description="focal length in pixels; the principal point is the centre")
    positions: list[list[float]] = Field(
        min_length=2,
        description="camera centres (x, y, z), z up, in halves of the diagonal of the object's bounding box, "
        "which is centred at the origin; each camera looks there and is upright",
    )

    @model_validator(mode="after")
    def _cameras_are_possible(self) -> Self:
        if not all(len(place) == 3 and all(map(math.isfinite, place)) for place in self.positions):
            raise ValueError("positions are no lists of three numbers (x, y, z)")
        if any(math.hypot(*place) <= 1 or math.hypot(*place[:2]) < 1e-6 for place in self.positions):
            raise ValueError(
                "each of positions lies farther than 1 from the origin and not above or below it"
            )
        if self.input >= len(self.positions):
            raise ValueError(f"input is {self.input} and positions are {len(self.positions)}, counted from 0")
        return self

    @property
    def order(self) -> list[int]:
        """Numbers of the pictures as they are stored: the input first, then the others ascending."""
        return [self.input, *(i for i in range(len(self.positions)) if i != self.input)]
