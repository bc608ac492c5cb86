"""Are these views fit to be scored? Every defect is named in a sentence; none is mended silently.

*Errors*: the views are not what they claim to be, and a number computed from them would be wrong.
*Warnings*: legitimate now and then (a thin object seen from its edge), and worth knowing. Ground truth
answers for both its form and its content, a *prediction* for its form only: an object that runs out of the
frame or an empty view is then the method's result, scored as it is, and a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
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
WHITE, OFF_WHITE, PLAIN = 250 / 255, 0.9, 0.5
"""Images without alpha must stand on white: so is the median of the border, by channel.
A network's white is never quite that: down to WHITE it is its result, and told. Down to OFF_WHITE it is so
unless more than PLAIN of the border is that one colour, as only a renderer's setting makes it."""
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
    allow_border: bool = False,
    predicted: bool = False,
) -> list[Finding]:
    """The findings of a posed set of images, each in one sentence that names the place, `where`.

    rgba: (V, C, H, W) in [0, 1] as image files hold them, straight alpha; C = 3 only if predicted. expected:
    number of views. allow_border: objects may be cut off (a protocol that keeps them), which leaves a
    warning. predicted: the images are a method's output.
    """
    found = [*_shape(rgba, cameras, expected), *_poses(cameras)]
    found += _foreground(rgba, allow_border, predicted) if rgba.shape[1] == 4 else _without_alpha(rgba)
    found += _equal_views(rgba, predicted)
    return [replace(finding, text=f"{where}: {finding.text}") for finding in found]


def require_clean(rgba: Tensor, cameras: Cameras, **options: Any) -> list[str]:
    """Raise UserError that lists every error of `lint_views`, whose options it takes; return the warnings."""
    found = lint_views(rgba, cameras, **options)
    if any(finding.fatal for finding in found):
        raise UserError(" ".join(f"{finding.text}." for finding in found if finding.fatal))
    return [finding.text for finding in found]


def _shape(rgba: Tensor, cameras: Cameras, expected: int | None) -> Iterator[Finding]:
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


def _told(members: Tensor, sentence: str, fatal: bool = True) -> Iterator[Finding]:
    """What is said of these members, (V,), if there are any.

    {views} becomes `view 3 is`, `views 3 and 4 are`, {cameras} likewise; {pairs} the numbers alone.
    """
    names = [str(i) for i in members.nonzero().flatten().tolist()]
    if names:
        several = len(names) > 1
        shown = names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"]
        listed = " and ".join([", ".join(shown[:-1]), shown[-1]] if several else shown)
        who = f"{'s' * several} {listed} {'are' if several else 'is'}"
        yield Finding(sentence.format(views=f"view{who}", cameras=f"camera{who}", pairs=listed), fatal)


def _poses(cameras: Cameras) -> Iterator[Finding]:
    c2w = cameras.c2w.double()
    finite = torch.isfinite(c2w).flatten(1).all(1)
    if not bool(finite.all()):
        yield from _told(~finite, "{cameras} not finite; write the cameras again")
        return
    axes = c2w[:, :3, :3]
    product = axes.transpose(1, 2) @ axes - torch.eye(3, dtype=axes.dtype)
    skewed = (product.abs().amax((1, 2)) > ORTHONORMAL_TOLERANCE) | (torch.linalg.det(axes) < 0)
    if bool(skewed.any()):
        wanted = "give camera-to-world matrices of right-handed unit axes"
        yield from _told(skewed, f"{{cameras}} no rotation and position (scaled or mirrored axes); {wanted}")
        return
    x, y, depth = invert_rigid(c2w)[:, :3, 3].unbind(1)
    u = cameras.focal_px * x / depth + cameras.width / 2
    v = cameras.focal_px * y / depth + cameras.height / 2
    inside = (u >= 0) & (u <= cameras.width) & (v >= 0) & (v <= cameras.height)
    yield from _told(
        ~((depth > 0) & inside),
        "{cameras} not facing the object: its centre, the world's origin, is behind or out of the frame; "
        "give OpenCV camera-to-world poses (z forward, y down) or name their convention",
    )
    same = (c2w[:, None] - c2w[None]).abs().amax((2, 3)) < SAME_CAMERA_TOLERANCE
    yield from _told(_paired(same), "cameras {pairs} are the same; give each view its own pose")


def _foreground(rgba: Tensor, allow_border: bool, predicted: bool) -> Iterator[Finding]:
    """What alpha tells: is it there, is it straight, and where does it say that the object is?"""
    alpha = rgba[:, 3]
    opaque = (alpha > 1 - 1e-6).flatten(1).all(1)
    missing = "alpha is missing: {views} opaque everywhere; render with a transparent background"
    yield from _told(opaque, missing, not predicted)
    if predicted:
        yield from _background(rgba, opaque)
    solid = (alpha > SOLID) & ~opaque[:, None, None]
    coverage = solid.float().mean((1, 2))
    empty = (coverage < MIN_COVERAGE) & ~opaque
    yield from _told(empty, "{views} empty; check the object, its scale and the camera", not predicted)
    touching = solid[:, [0, -1]].flatten(1).any(1) | solid[:, :, [0, -1]].flatten(1).any(1)
    mend = "scale it into the unit sphere or move the camera back"
    cut = f"the object touches the border: {{views}} cut off; {mend}"
    yield from _told(touching, cut, not (predicted or allow_border))
    if is_premultiplied(rgba):
        yield Finding(
            "colours are premultiplied by alpha (edges darken as alpha falls); "
            "divide them by alpha, as PNG files want them"
        )
    yield from _told(
        (coverage < SMALL_COVERAGE) & ~empty & ~opaque,
        f"{{views}} covered by the object to less than {SMALL_COVERAGE:.0%}, so the background decides "
        "whole-image scores; read the foreground columns",
        fatal=False,
    )


def is_premultiplied(rgba: Tensor) -> bool:
    """Has colour been multiplied by alpha? Judged on the edges of all views (V, 4, H, W) together.

    A premultiplied colour cannot exceed its alpha. Witnesses are edge values (partial alpha) beside an
    opaque surface, within 2 px, that is brighter than that alpha by WITNESS_MARGIN: an edge shows the same
    surface. On 36 rendered objects 57 % of the witnesses or more exceed it when straight, none when
    premultiplied; the line is drawn at 1 %. An object without WITNESSES of them (binary alpha, nearly black)
    passes: multiplied or not, its image is almost the same.
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


def _without_alpha(rgba: Tensor) -> Iterator[Finding]:
    yield from _background(rgba, torch.ones(len(rgba), dtype=torch.bool))
    spread = rgba.flatten(2).amax(2) - rgba.flatten(2).amin(2)
    yield from _told(spread.amax(1) < 2 / 255, "{views} of one colour: nothing to see", fatal=False)


def _background(rgba: Tensor, judged: Tensor) -> Iterator[Finding]:
    """Is it white behind what these members, (V,), show? Told by the pixels at the border."""
    rim = torch.cat([rgba[:, :3, [0, -1]].flatten(2), rgba[:, :3, :, [0, -1]].flatten(2)], 2)
    middle = rim.median(2, keepdim=True).values
    plain = ((rim - middle).abs() < 1.5 / 255).all(1).double().mean(1) > PLAIN
    darkest = middle.amin((1, 2))
    off_white = judged & (darkest < 1 - 0.5 / 255)
    wrong = judged & (darkest < WHITE - 1e-6) & (plain | (darkest < OFF_WHITE))
    mend = "write RGBA images, or composite them on white"
    told = f"without alpha the background must be white; {{views}} of another colour at the border; {mend}"
    yield from _told(wrong, told)
    told = "{views} not quite white at the border and scored so; if that is no result, composite on white"
    yield from _told(off_white & ~wrong, told, fatal=False)


def _equal_views(rgba: Tensor, predicted: bool) -> Iterator[Finding]:
    """Bit-identical images; empty ones are found elsewhere and would all be equal."""
    shown = rgba.flatten(2)
    blank = (shown.amax(2) == shown.amin(2)).all(1)
    same = torch.tensor([[torch.equal(a, b) for b in rgba] for a in rgba])
    same &= ~blank[:, None] & ~blank[None]
    equal = "views {pairs} are one image, equal to the bit; render each at its own pose"
    yield from _told(_paired(same), equal, not predicted)


def _paired(equal: Tensor) -> Tensor:
    """Members of a symmetric (V, V) relation that have a partner."""
    return equal.clone().fill_diagonal_(False).any(1)
