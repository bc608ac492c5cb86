"""One photograph -> model.ply, a turntable, a page to turn it on, and the cut-out that the networks saw."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from aligncvc.config.jobs.sample import PhotoJob
from aligncvc.errors import UserError
from aligncvc.loop.unroll import KeptStep
from aligncvc.models.encoders.background import CUT_OUT_PX, remove_background
from aligncvc.models.pair import PairOfModels
from aligncvc.ownership import claim_files
from aligncvc.sample.doubts import border_share, doubts
from aligncvc.sample.photo_model import PhotoModel
from aligncvc.sample.sets import pair_for, sample_one
from aligncvc.scene.cameras import orbit
from aligncvc.scene.framing import at_field_of_view
from aligncvc.scene.pictures import eight_bit
from aligncvc.scene.rigs import fov_covering
from aligncvc.scene.views import composite, save_png

MIN_SIDE_PX = 32
MAX_SIDE_PX = 2048
"""Larger photographs are reduced first: the cut-out works at 320 px and the models below that."""
MIN_COVERAGE = 0.005
MIN_TRANSPARENT = 0.05
"""Share of pixels that must be transparent before that counts as a cut-out: rounded corners do not."""
MAX_BORDER_SHARE = 0.25
"""Share of the picture's outline that the object may cover before it counts as cut off."""
OBJECT_FILL = 0.84
"""Longer side of the object's box as a share of the frame: the median over the bundled objects' ring views
(unit sphere, distance 3, vertical field of view 39.6 degrees; 5th to 95th percentile 0.63 to 0.96)."""


def read_photo(photo: Path | str | Image.Image) -> Tensor:
    """A picture or its file -> (3|4, H, W) in [0, 1], upright; 4 channels if transparency cuts something out.
    Raises UserError for a file that cannot be read."""
    path = name_of(photo)
    try:
        if isinstance(photo, Image.Image):
            upright = eight_bit(photo)
        else:
            with Image.open(photo) as image:
                upright = eight_bit(image)
    except FileNotFoundError:
        raise UserError(f"there is no picture at {path}; give the path of an image file") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path} has too many pixels to be opened safely; reduce it to {MAX_SIDE_PX} pixels a side, more "
            "are not used"
        ) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UserError(
            f"{path} is not a picture that can be read ({error}); give a whole PNG or JPEG file with 8 bits "
            "a channel"
        ) from None
    if min(upright.size) < MIN_SIDE_PX:
        raise UserError(
            f"{path} has {upright.width}x{upright.height} pixels; give a picture of at least "
            f"{MIN_SIDE_PX} pixels on each side"
        )
    upright.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    pixels = torch.from_numpy(np.asarray(upright).copy()).permute(2, 0, 1).float() / 255
    if len(pixels) == 4 and float(pixels[3].amax()) <= 0.5:
        raise UserError(
            f"no object stands out in {path}, which is nearly transparent everywhere; save it without "
            "transparency, or with a transparent background alone"
        )
    if len(pixels) == 3 or float((pixels[3] <= 0.5).float().mean()) >= MIN_TRANSPARENT:
        return pixels
    return composite(pixels, 1.0)


def name_of(photo: Path | str | Image.Image) -> str:
    """What sentences call a picture."""
    return "the picture" if isinstance(photo, Image.Image) else str(photo)


def check_object(rgba: Tensor, where: object) -> None:
    """Raise UserError unless there is an object that is not cut off by the picture's edges."""
    mask = rgba[3] > 0.5
    if float(mask.float().mean()) < MIN_COVERAGE:
        raise UserError(
            f"no object stands out in {where}; give a picture of one object before a plain background, "
            "or a PNG with a transparent background"
        )
    if (share := border_share(mask)) > MAX_BORDER_SHARE:
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
    both, size = torch.cat([colour, alpha])[None], (size_px, size_px)
    small = F.interpolate(both, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    alpha = small[3:].clamp(0, 1)
    return torch.cat([(small[:3] / alpha.clamp_min(1e-4)).clamp(0, 1), alpha])


@dataclass(frozen=True)
class Prepared:
    """A picture as the networks see it. image: (3, S, S) in [0, 1] on white. doubts: see `doubts`."""

    image: Tensor
    doubts: tuple[str, ...] = ()


def prepare(photo: Path | str | Image.Image, size_px: int) -> Prepared:
    """A picture or its file, cut out, centred, size_px a side. Raises UserError (see above)."""
    pixels = read_photo(photo)
    removed = len(pixels) == 3
    rgba = remove_background(pixels) if removed else pixels
    check_object(rgba, name_of(photo))
    said = doubts(rgba, OBJECT_FILL * size_px, CUT_OUT_PX if removed else None)
    return Prepared(composite(recentre(rgba, size_px), 1.0), tuple(said))


def make_model(
    job: PhotoJob,
    pair: PairOfModels,
    prepared: Prepared,
    seed: int = 0,
    on_step: Callable[[KeptStep], None] | None = None,
) -> PhotoModel:
    """A prepared picture (`prepare`, at the pair's renderings' size) -> the model.

    seed: of the noise. on_step: told each kept step as it is made.
    """
    image = prepared.image
    method, size_px = job.sample, job.sample.pair.renderings_px
    device = next(pair.reconstructor.parameters()).device
    # the photograph's elevation is unknown: the training renders' is assumed
    lens = {"distance": job.distance, "fov_y_deg": job.fov_y_deg}
    cameras = orbit(job.azimuths_deg, job.elevation_deg, size_px=size_px, **lens)
    if (half := method.pair.rig.half_width) is not None:
        image, cameras = at_field_of_view(image, cameras, fov_covering(half, job.distance))
    sampled, _ = sample_one(pair, method, image.to(device), cameras.to(device), seed, "photo", on_step)
    return PhotoModel(job, image, sampled, prepared.doubts)


def sample_photo(
    job: PhotoJob,
    photo: Path,
    out: Path,
    *,
    aligned: Path | None = None,
    seed: int = 0,
    raw: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write `out` (.ply) and beside it NAME.glb (a mesh), NAME_turntable.webp, NAME_input.png and NAME.html.

    Returns the paths written. aligned: folder of the method's alignment run; seed: of the noise. raw: write
    the .ply as the networks have it (z up, no low-pass), which is what evaluation measures, instead of ready
    for public viewers (`viewer.ply`). Raises UserError for a picture that cannot be handled, missing weights,
    or, before any work, if one of the paths holds a file of another origin or is the photograph.
    """
    if out.suffix.lower() != ".ply":
        raise UserError(f"--out {out} must end in .ply; it is a 3D Gaussian model")
    beside = (f"{out.stem}_turntable.webp", f"{out.stem}_input.png", f"{out.stem}.html", f"{out.stem}.glb")
    animation, cut_out, page, mesh = others = [out.with_name(name) for name in beside]
    claim_files([out, *others], inputs=[photo], force=force)
    prepared = prepare(photo, job.sample.pair.renderings_px)  # before the weights are loaded
    for sentence in prepared.doubts:
        print(f"note: {photo}: {sentence}", file=sys.stderr)
    made = make_model(job, pair_for(job.sample, aligned), prepared, seed)
    made.write_ply(out, raw=raw)
    surface = made.write_surface(mesh)
    made.write_turntable(animation)
    save_png(cut_out, made.image)
    made.write_page(page, f"made from {photo.name}")
    return [out, animation, cut_out, page, *surface]
