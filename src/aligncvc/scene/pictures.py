"""Picture files of any depth as 8 bits a channel: scaled to what the depth can hold, never clipped."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

BITS_PER_SAMPLE = 258
"""TIFF's tag: a 12-bit picture is stored in 16 bits."""


WHOLE_DEPTH = 16
"""With more bits a sample than these, values below a 256th of the largest are of another range."""


def eight_bit(image: Image.Image) -> Image.Image:
    """RGB, or RGBA if the picture has transparency; upright, as its orientation tag says.

    Greys of more than 8 bits are divided by the largest value of their depth, floats are taken as 0 to 1.
    Raises ValueError for values whose range nothing tells: beyond that, or of 32 bits that are hardly used.
    """
    bits = _bits(image)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float64)
        top = 1.0 if image.mode == "F" else 2.0**bits - 1
        fits = np.isfinite(values).all() and values.min() >= 0 and values.max() <= top
        if not fits or (bits > WHOLE_DEPTH and values.max() < top / 256):
            raise ValueError(
                f"its values go from {values.min():g} to {values.max():g}, not from 0 to {top:g}"
            )
        image = Image.fromarray(np.round(values / top * 255).astype(np.uint8))
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")


def _bits(image: Image.Image) -> int:
    stored = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    return int(stored[0] if isinstance(stored, tuple) else stored)


def picture_fault(data: bytes) -> str | None:
    """What is wrong with the bytes of a picture, or None."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Image.DecompressionBombError:
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except UnidentifiedImageError:
        return "no picture of a known kind"
    except Exception as error:  # Pillow's readers raise many kinds for a broken file
        return " ".join(str(error).split())
    return None
