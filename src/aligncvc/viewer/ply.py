"""A model as a PLY for public viewers: y up, and as wide as the project's own page shows it."""

from __future__ import annotations

from pathlib import Path

import torch

from aligncvc.scene.gaussians import VIEWER_MARK, Gaussians, save_ply
from aligncvc.viewer.pack import widen_to_pixels
from aligncvc.viewer.page import ViewSettings

Z_UP_TO_Y_UP = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""The project's world to glTF's, the one of model.glb: the input view then looks from +z, as viewers do."""


def for_viewers(gaussians: Gaussians, native_px: int, view: ViewSettings) -> Gaussians:
    """Unbatched Gaussians of the project's world, as a viewer must be given them to show the page's look.

    The rasteriser's low-pass at the networks' renderings, `native_px`, goes into the scales
    (`widen_to_pixels`). It leaves opacities alone (gsplat's "classic" mode), so they stay as they are.
    """
    wide = widen_to_pixels(gaussians, native_px, **view.lens)
    return wide.moved(Z_UP_TO_Y_UP.to(wide.means), wide.means.new_ones(()), wide.means.new_zeros(3))


def save_viewer_ply(path: Path | str, gaussians: Gaussians, native_px: int, view: ViewSettings) -> None:
    """Write Gaussians of the project's world as the 3DGS layout `for_viewers`; a header comment says so."""
    widened = f"scales widened by the low-pass of the {native_px} px renderings"
    save_ply(
        path,
        for_viewers(gaussians, native_px, view),
        comments=(f"{VIEWER_MARK}; {widened}; --raw leaves both out",),
    )
