"""Feed-forward reconstructors. A new one is one file and one line in RECONSTRUCTORS."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from aligncvc.config.networks import Recon
from aligncvc.errors import UserError
from aligncvc.models.reconstructors.base import Reconstructor
from aligncvc.models.reconstructors.lgm.network import LGM

RECONSTRUCTORS: dict[str, Callable[[Recon], nn.Module]] = {
    "lgm-small": LGM,  # any size, by default the demo's
    "lgm-big": LGM,  # LGM's two released shapes: see aligncvc.config.architectures
    "lgm-official-small": LGM,
}

__all__ = ["RECONSTRUCTORS", "Reconstructor", "build_reconstructor"]


def build_reconstructor(config: Recon) -> nn.Module:
    """The configured reconstructor with random weights. Raises UserError for an unknown kind."""
    if config.kind not in RECONSTRUCTORS:
        raise UserError(
            f"recon.kind {config.kind!r} is not built in this version; choose one of {sorted(RECONSTRUCTORS)}"
        )
    return RECONSTRUCTORS[config.kind](config)
