"""One turn round a model: frames, and the looping WebP of them."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import rasterise
from aligncvc.viewer.pack import widen_to_pixels
from aligncvc.viewer.page import ViewSettings

TURNTABLE_PX = 256
TURNTABLE_SECONDS = 3.0


@torch.no_grad()
def turntable(
    gaussians: Gaussians, view: ViewSettings, frames: int, native_px: int, size_px: int = TURNTABLE_PX
) -> Tensor:
    """Unbatched Gaussians -> (T, 3, size_px, size_px) on white, one turn at the view's elevation.

    Frames larger than native_px, the networks' renderings, show the Gaussians as wide as those do
    (`widen_to_pixels`).
    """
    if size_px > native_px:
        gaussians = widen_to_pixels(gaussians, native_px, **view.lens)
    cameras = orbit(ring_azimuths_deg(frames), view.elevation_deg, **view.lens, size_px=size_px)
    return rasterise(gaussians, cameras.to(gaussians.means.device), background=1.0).rgb.clamp(0, 1)


def animation_bytes(frames: Tensor, seconds: float = TURNTABLE_SECONDS) -> bytes:
    """Frames (T, 3, H, W) in [0, 1] as a looping WebP that takes `seconds` a turn."""
    arrays = (frames * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    first, *rest = [Image.fromarray(a) for a in arrays]
    buffer, timing = io.BytesIO(), {"loop": 0, "duration": round(1000 * seconds / len(arrays))}
    first.save(buffer, format="WEBP", save_all=True, append_images=rest, quality=85, **timing)
    return buffer.getvalue()
