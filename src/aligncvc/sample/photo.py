"""A photograph as the networks expect their input: one object, cut out, centred, on white."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.encoders.background import remove_background
from aligncvc.scene.views import composite

MIN_SIDE_PX = 32
MAX_SIDE_PX = 2048
"""Larger photographs are reduced first: the cut-out works at 320 px and the models below that."""
MIN_COVERAGE = 0.005
MAX_BORDER_SHARE = 0.25
"""Share of the picture's outline that the object may cover before it counts as cut off."""
OBJECT_FILL = 0.84
"""Longer side of the object's box as a share of the frame: the median over the bundled objects' ring views
(unit sphere, distance 3, vertical field of view 39.6 degrees; 5th to 95th percentile 0.63 to 0.96)."""


def read_photo(path: Path | str) -> Tensor:
    """Any picture file -> (3|4, H, W) in [0, 1], upright; 4 channels if it has real transparency.

    Raises UserError if it is not a picture or smaller than 32 px.
    """
    import numpy as np
    from PIL import ImageOps

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            has_alpha = "A" in upright.getbands() or "transparency" in upright.info
            upright = upright.convert("RGBA" if has_alpha else "RGB")
    except FileNotFoundError:
        raise UserError(f"there is no picture at {path}; give the path of an image file") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} is not a picture that can be read ({error}); save it as PNG or JPEG"
        ) from None
    if min(upright.size) < MIN_SIDE_PX:
        raise UserError(
            f"{path} has {upright.width}x{upright.height} pixels; give a picture of at least "
            f"{MIN_SIDE_PX} pixels on each side"
        )
    upright.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    pixels = torch.from_numpy(np.asarray(upright).copy()).permute(2, 0, 1).float() / 255
    return pixels[:3] if len(pixels) == 4 and bool((pixels[3] == 1).all()) else pixels


def cut_out(pixels: Tensor) -> Tensor:
    """(3|4, H, W) -> (4, H, W): the alpha of the file if it has one, else the background is removed."""
    return pixels if len(pixels) == 4 else remove_background(pixels)


def check_object(rgba: Tensor, where: object) -> None:
    """Raise UserError unless there is an object that is not cut off by the picture's edges."""
    mask = rgba[3] > 0.5
    if float(mask.float().mean()) < MIN_COVERAGE:
        raise UserError(
            f"no object stands out in {where}; give a picture of one object before a plain background, "
            "or a PNG with a transparent background"
        )
    border = torch.cat([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    share = float(border.float().mean())
    if share > MAX_BORDER_SHARE:
        raise UserError(
            f"the object in {where} is cut off (it covers {share:.0%} of the picture's edge); give a "
            "picture that shows the whole object, or a PNG with a transparent background"
        )


def recentre(rgba: Tensor, size_px: int, fill: float = OBJECT_FILL) -> Tensor:
    """(4, H, W) -> (4, size_px, size_px): the object's box centred, its longer side `fill` of the frame.

    Colours are premultiplied for resampling, so that the old background does not bleed in.
    """
    mask = rgba[3] > 0.5
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side = round(max(bottom - top, right - left) / fill)
    y, x = (top + bottom - side) // 2, (left + right - side) // 2
    height, width = mask.shape
    # pad: where the square reaches beyond the picture; a negative pad crops
    square = F.pad(rgba, (-x, x + side - width, -y, y + side - height))
    colour, alpha = square[:3] * square[3:], square[3:]
    small = F.interpolate(
        torch.cat([colour, alpha])[None],
        size=(size_px, size_px),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0]
    alpha = small[3:].clamp(0, 1)
    return torch.cat([(small[:3] / alpha.clamp_min(1e-4)).clamp(0, 1), alpha])


def prepare(path: Path | str, size_px: int) -> Tensor:
    """A picture file -> (3, size_px, size_px) in [0, 1] on white. Raises UserError (see above)."""
    rgba = cut_out(read_photo(path))
    check_object(rgba, path)
    return composite(recentre(rgba, size_px), 1.0)
