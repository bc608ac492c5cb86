"""Multi-view generators. A new one is one file and one line in GENERATORS."""

from __future__ import annotations

from collections.abc import Callable

from aligncvc.config.networks import Mvg
from aligncvc.errors import UserError
from aligncvc.models.generators.base import Condition, MultiViewGenerator, Prediction
from aligncvc.models.generators.wonder3d.network import Wonder3D

GENERATORS: dict[str, Callable[[Mvg, int], MultiViewGenerator]] = {
    "wonder3d-small": Wonder3D,
    "wonder3d-v1": Wonder3D,
    "wonder3d-plus": Wonder3D,
}

__all__ = ["GENERATORS", "Condition", "MultiViewGenerator", "Prediction", "build_generator"]


def build_generator(config: Mvg, size_px: int) -> MultiViewGenerator:
    """The configured generator with random weights. Raises UserError for an unknown kind."""
    if config.kind not in GENERATORS:
        raise UserError(
            f"mvg.kind {config.kind!r} is not built in this version; choose one of {sorted(GENERATORS)}"
        )
    return GENERATORS[config.kind](config, size_px)
