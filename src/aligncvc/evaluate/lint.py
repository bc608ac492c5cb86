"""Are these views fit to be scored? Every defect is named in a sentence; none is mended silently.

Most "same test set, different numbers" stories end at one of these: alpha lost or premultiplied, an object
cut off at the border, cameras of another convention, a view written twice. Two kinds of finding:

* *errors*: the views are not what they claim to be, and a number computed from them would be wrong;
* *warnings*: legitimate now and then (a thin object seen from its edge), and worth knowing.

Ground truth answers for both its form and its content. A *prediction* answers for its form only: an object
that runs out of the frame or an empty view is then the method's result, scored as it is, and a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.scene.camera_formats import invert_rigid
from aligncvc.scene.cameras import Cameras

SOLID = 0.5
"""A pixel shows the object when its alpha exceeds this: the pixel filter lets silhouettes spill a little."""
MIN_COVERAGE = 0.0005
"""Below this share of solid pixels a view counts as empty."""
SMALL_COVERAGE = 0.02
"""Below this share the background decides PSNR and SSIM: a warning."""
ORTHONORMAL_TOLERANCE, SAME_CAMERA_TOLERANCE = 1e-3, 1e-4
LIGHT_BACKGROUND = 0.75
"""Images without alpha are taken as standing on white; a median border darker than this says otherwise."""
WITNESSES, WITNESS_MARGIN = 30, 0.1
"""Of premultiplied alpha: how many edge values are enough, and what makes one (`is_premultiplied`)."""


@dataclass(frozen=True)
class Finding:
    """One defect in one sentence; fatal: an error, otherwise a warning."""

    text: str
    fatal: bool = True


def lint_views(
    rgba: Tensor,
    cameras: Cameras,
    *,
    where: str,
    expected: int | None = None,
    allow_equal_views: bool = False,
    allow_border: bool = False,
    predicted: bool = False,
) -> list[Finding]:
    """The findings of a posed set of images, each in one sentence that names the place.

    Args:
        rgba: (V, C, H, W) in [0, 1], straight alpha; C = 3 is an error unless predicted.
        cameras: (V, 4, 4), the object at the origin.
        where: names the set in each sentence.
        expected: number of views that the set must have.
        allow_equal_views: the same image at several poses is meant (a control that copies the input).
        allow_border: objects may be cut off (a protocol that keeps them), which leaves a warning.
        predicted: the images are a method's output, see the module.
    """
    found = list(_shape(rgba, cameras, expected))
    if rgba.ndim == 4 and rgba.shape[1] in (3, 4) and len(rgba):
        unusable = _finite(rgba)
        found += [*unusable, *_poses(cameras)]
        if not unusable:  # else nothing said about the pixels would mean anything
            straight = rgba.shape[1] == 4
            found += (
                _foreground(rgba, allow_border, predicted) if straight else _without_alpha(rgba, predicted)
            )
            found += [] if allow_equal_views else _equal_views(rgba, fatal=not predicted)
    return [replace(finding, text=f"{where}: {finding.text}") for finding in found]


def require_clean(rgba: Tensor, cameras: Cameras, **options: Any) -> list[str]:
    """Raise UserError that lists every error of `lint_views`, whose options it takes; return the warnings."""
    found = lint_views(rgba, cameras, **options)
    if any(finding.fatal for finding in found):
        raise UserError(" ".join(f"{finding.text}." for finding in found if finding.fatal))
    return [finding.text for finding in found]


def _shape(rgba: Tensor, cameras: Cameras, expected: int | None) -> Iterator[Finding]:
    if rgba.ndim != 4 or rgba.shape[1] not in (3, 4):
        yield Finding(f"images of shape {tuple(rgba.shape)} are not (V, 3 or 4, H, W); give RGB or RGBA")
        return
    count, (height, width) = len(rgba), rgba.shape[-2:]
    if expected is not None and count != expected:
        yield Finding(f"{count} views where the rig has {expected}; give one image for each pose")
    if len(cameras) != count:
        yield Finding(f"{count} images but {len(cameras)} cameras; give one camera for each image")
    if (height, width) != (cameras.height, cameras.width):
        yield Finding(
            f"images of {width}x{height} but cameras for {cameras.width}x{cameras.height}; "
            "give the cameras of these images"
        )


def _finite(rgba: Tensor) -> list[Finding]:
    broken = ~torch.isfinite(rgba).flatten(1).all(1)
    if bool(broken.any()):
        return [Finding(f"{_views(broken)} not finite somewhere; write the images again")]
    outside = ((rgba < -1e-6) | (rgba > 1 + 1e-6)).flatten(1).any(1)
    if bool(outside.any()):
        return [Finding(f"{_views(outside)} outside [0, 1]; scale the images to that range")]
    return []


def _poses(cameras: Cameras) -> Iterator[Finding]:
    c2w = cameras.c2w.double()
    finite = torch.isfinite(c2w).flatten(1).all(1)
    if not bool(finite.all()):
        yield Finding(f"{_cameras(~finite)} not finite; write the cameras again")
        return
    axes = c2w[:, :3, :3]
    product = axes.transpose(1, 2) @ axes - torch.eye(3, dtype=axes.dtype)
    skewed = (product.abs().amax((1, 2)) > ORTHONORMAL_TOLERANCE) | (torch.linalg.det(axes) < 0)
    if bool(skewed.any()):
        yield Finding(
            f"{_cameras(skewed)} no rotation and position (scaled or mirrored axes); "
            "give camera-to-world matrices of right-handed unit axes"
        )
        return
    x, y, depth = invert_rigid(c2w)[:, :3, 3].unbind(1)
    u = cameras.focal_px * x / depth + cameras.width / 2
    v = cameras.focal_px * y / depth + cameras.height / 2
    inside = (u >= 0) & (u <= cameras.width) & (v >= 0) & (v <= cameras.height)
    away = ~((depth > 0) & inside)
    if bool(away.any()):
        yield Finding(
            f"{_cameras(away)} not facing the object: its centre, the world's origin, is behind or out of "
            "the frame; give OpenCV camera-to-world poses (z forward, y down) or name their convention"
        )
    pairs = (c2w[:, None] - c2w[None]).abs().amax((2, 3)) < SAME_CAMERA_TOLERANCE
    if bool(pairs.triu(1).any()):
        yield Finding(f"cameras {_pairs(pairs)} are the same; give each view its own pose")


def _foreground(rgba: Tensor, allow_border: bool, predicted: bool) -> Iterator[Finding]:
    """What alpha tells: is it there, is it straight, and where does it say that the object is?"""
    alpha = rgba[:, 3]
    opaque = (alpha > 1 - 1e-6).flatten(1).all(1)
    if bool(opaque.any()):
        yield Finding(
            f"alpha is missing: {_views(opaque)} opaque everywhere; render with a transparent background",
            fatal=not predicted,
        )
    solid = (alpha > SOLID) & ~opaque[:, None, None]
    coverage = solid.float().mean((1, 2))
    empty = (coverage < MIN_COVERAGE) & ~opaque
    if bool(empty.any()):
        yield Finding(f"{_views(empty)} empty; check the object, its scale and the camera", not predicted)
    touching = solid[:, [0, -1]].flatten(1).any(1) | solid[:, :, [0, -1]].flatten(1).any(1)
    if bool(touching.any()):
        yield Finding(
            f"the object touches the border: {_views(touching)} cut off; "
            "scale it into the unit sphere or move the camera back",
            not (predicted or allow_border),
        )
    if is_premultiplied(rgba):
        yield Finding(
            "colours are premultiplied by alpha (edges darken as alpha falls); "
            "divide them by alpha, as PNG files want them"
        )
    small = (coverage < SMALL_COVERAGE) & ~empty & ~opaque
    if bool(small.any()):
        yield Finding(
            f"{_views(small)} covered by the object to less than {SMALL_COVERAGE:.0%}, so the background "
            "decides whole-image scores; read the foreground columns",
            fatal=False,
        )


def is_premultiplied(rgba: Tensor) -> bool:
    """Has colour been multiplied by alpha? Judged on the edges of all views (V, 4, H, W) together.

    A premultiplied colour cannot exceed its alpha. Witnesses are edge values (partial alpha) beside an
    opaque surface, within 2 px, that is brighter than that alpha by WITNESS_MARGIN: an edge shows the same
    surface, so straight colour mostly exceeds alpha there, and premultiplied colour nowhere. On 36 rendered
    objects 57 % of the witnesses or more exceed it when straight, none when premultiplied; the line is drawn
    at 1 %. Colour against alpha alone would accuse dark objects, and dark fringes alone objects with dark
    contours: both are no witnesses here, or exceed alpha. An object without WITNESSES of them (binary alpha,
    nearly black) passes: multiplied or not, its image is almost the same.
    """
    colour, alpha = rgba[:, :3], rgba[:, 3:]
    solid = (alpha > 0.999).to(rgba.dtype)
    kernel = torch.ones(1, 1, 5, 5, dtype=rgba.dtype, device=rgba.device)
    count = F.conv2d(solid, kernel, padding=2)
    total = F.conv2d((colour * solid).flatten(0, 1)[:, None], kernel, padding=2).view_as(colour)
    surface = total / count.clamp_min(1)
    edge = (alpha > 0.02) & (alpha < 0.9) & (count > 0)
    witnesses = edge & (surface > alpha + WITNESS_MARGIN)
    if int(witnesses.sum()) < WITNESSES:
        return False
    exceeding = (colour > alpha + 1.5 / 255)[witnesses]  # one level of rounding allowed
    return float(exceeding.double().mean()) < 0.01


def _without_alpha(rgba: Tensor, predicted: bool) -> Iterator[Finding]:
    if not predicted:
        yield Finding("alpha is missing: the images are RGB; render RGBA with a transparent background")
        return
    rim = torch.cat([rgba[..., [0, -1], :].flatten(2), rgba[..., [0, -1]].flatten(2)], 2)
    dark = rim.flatten(1).median(1).values < LIGHT_BACKGROUND
    if bool(dark.any()):
        yield Finding(
            f"without alpha the background must be white, but {_views(dark)} dark at the border; "
            "write RGBA images, or composite them on white"
        )
    spread = rgba.flatten(2).amax(2) - rgba.flatten(2).amin(2)
    empty = spread.amax(1) < 2 / 255
    if bool(empty.any()):
        yield Finding(f"{_views(empty)} of one colour: nothing to see", fatal=False)


def _equal_views(rgba: Tensor, fatal: bool) -> Iterator[Finding]:
    """Bit-identical images; empty ones are found elsewhere and would all be equal."""
    shown = rgba.flatten(2)
    blank = (shown.amax(2) == shown.amin(2)).all(1)
    same = torch.tensor([[torch.equal(a, b) for b in rgba] for a in rgba])
    same &= ~blank[:, None] & ~blank[None]
    if bool(same.triu(1).any()):
        yield Finding(
            f"views {_pairs(same)} are one image, equal to the bit; render each at its own pose", fatal
        )


def _list(indices: Iterable[int]) -> str:
    names = [str(i) for i in indices]
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _views(mask: Tensor) -> str:
    """`view 3 is`, `views 3 and 4 are`."""
    indices = mask.nonzero().flatten().tolist()
    return f"view{'s' * (len(indices) > 1)} {_list(indices)} {'are' if len(indices) > 1 else 'is'}"


def _cameras(mask: Tensor) -> str:
    return _views(mask).replace("view", "camera", 1)


def _pairs(equal: Tensor) -> str:
    """Members of a symmetric (V, V) relation that have a partner."""
    partners = equal.clone().fill_diagonal_(False).any(1)
    return _list(partners.nonzero().flatten().tolist())
