"""Is a rendered object fit for use? Each check returns a reason, or None."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from aligncvc.scene.views import Views

MIN_COVERAGE, MAX_COVERAGE = 0.01, 0.95
MIN_COVERAGE_EDGE_ON = 0.0005
"""A single view may show a flat object from its edge; it may not be empty."""
MIN_CONTRAST = 2 / 255


def check_views(views: Views, cropped: bool = False) -> str | None:
    """The first reason why these views are unusable, or None. cropped: an object may reach the border.

    Coverage is the mean alpha of a view: the input view and the mean over the views must lie in [1 %, 95 %].
    """
    for check in (_finite, _coverage, *([] if cropped else [_border]), _contrast, _depth):
        reason = check(views)
        if reason is not None:
            return reason
    return None


def _finite(views: Views) -> str | None:
    for name, values in (("colours", views.rgba), ("depth", views.depth), ("normals", views.normals)):
        if values is not None and not bool(torch.isfinite(values).all()):
            return f"{name} hold values that are not finite"
    return None


def _coverage(views: Views) -> str | None:
    coverage = views.alpha.mean((1, 2, 3))
    for name, value in (("input view", float(coverage[0])), ("mean view", float(coverage.mean()))):
        if value < MIN_COVERAGE:
            return f"the object covers {value:.2%} of the {name}, less than {MIN_COVERAGE:.0%}"
    if float(coverage.max()) > MAX_COVERAGE:
        return (
            f"the object covers {float(coverage.max()):.1%} of view {int(coverage.argmax())}, more than "
            f"{MAX_COVERAGE:.0%}"
        )
    if float(coverage.min()) < MIN_COVERAGE_EDGE_ON:
        return f"view {int(coverage.argmin())} is empty"
    return None


def _border(views: Views) -> str | None:
    # A half-covered pixel: the pixel filter lets a silhouette that just fits spill a little over the edge.
    solid = views.alpha[:, 0] > 0.5
    touching = (solid[:, [0, -1], :].flatten(1).any(1) | solid[:, :, [0, -1]].flatten(1).any(1)).nonzero()
    return f"the object touches the border of view {int(touching[0])}" if len(touching) else None


def _contrast(views: Views) -> str | None:
    colours = views.rgba[:, :3].transpose(0, 1)[:, views.alpha[:, 0] > 0.5]
    if colours.shape[1] == 0:
        return "no pixel is mostly covered by the object"
    spread = float((colours.max(1).values - colours.min(1).values).max())
    return "the object has one constant colour in all views" if spread < MIN_CONTRAST else None


def _depth(views: Views) -> str | None:
    if views.depth is None:
        return None
    seen = views.depth > 0
    if bool((views.depth < 0).any()):
        return "depth is negative somewhere"
    near, far = views.cameras.near, views.cameras.far
    if bool((seen & ((views.depth < near) | (views.depth > far))).any()):
        return f"depth lies outside [{near:g}, {far:g}]"
    solid = views.alpha[:, 0] > 0.5
    share = float((seen & solid).sum() / solid.sum())
    return f"only {share:.0%} of the object's pixels have a depth" if share < 0.5 else None


def object_files(views: int) -> set[str]:
    """Names in the folder of an object with so many views, its status apart."""
    return {*(f"{i:03d}.png" for i in range(views)), "cameras.json", "depth.npy", "normals.npy"}


def check_folder(folder: Path, views: int, size_px: int) -> str | None:
    """The first reason why a written object folder is incomplete, or None."""
    expected = object_files(views)
    found = {p.name for p in folder.iterdir()}
    if found != expected:
        return f"files missing or left over: {', '.join(sorted(found ^ expected))}"
    for name in sorted(n for n in expected if n.endswith(".png")):
        with Image.open(folder / name) as image:
            if image.size != (size_px, size_px) or image.mode != "RGBA":
                return f"{name} is {image.mode} {image.size}, expected RGBA {(size_px, size_px)}"
    return None
