"""Is a rendered object fit for use? Each check returns a reason, or None."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    return next(_faults(views, cropped), None)


def _faults(views: Views, cropped: bool) -> Iterator[str]:
    for name, values in (("colours", views.rgba), ("depth", views.depth), ("normals", views.normals)):
        if values is not None and not bool(values.isfinite().all()):
            yield f"{name} hold values that are not finite"
    coverage = views.alpha.mean((1, 2, 3))
    for name, value in (("input view", float(coverage[0])), ("mean view", float(coverage.mean()))):
        if value < MIN_COVERAGE:
            yield f"the object covers {value:.2%} of the {name}, less than {MIN_COVERAGE:.0%}"
    most, fullest = float(coverage.max()), int(coverage.argmax())
    if most > MAX_COVERAGE:
        yield f"the object covers {most:.1%} of view {fullest}, more than {MAX_COVERAGE:.0%}"
    if float(coverage.min()) < MIN_COVERAGE_EDGE_ON:
        yield f"view {int(coverage.argmin())} is empty"
    # A half-covered pixel: the pixel filter lets a silhouette that just fits spill a little over the edge.
    solid = views.alpha[:, 0] > 0.5
    touching = (solid[:, [0, -1], :].flatten(1).any(1) | solid[:, :, [0, -1]].flatten(1).any(1)).nonzero()
    if len(touching) and not cropped:
        yield f"the object touches the border of view {int(touching[0])}"
    colours = views.rgba[:, :3].transpose(0, 1)[:, solid]
    if colours.shape[1] == 0:
        yield "no pixel is mostly covered by the object"
    if float((colours.max(1).values - colours.min(1).values).max()) < MIN_CONTRAST:
        yield "the object has one constant colour in all views"
    if views.depth is None:
        return
    if bool((views.depth < 0).any()):
        yield "depth is negative somewhere"
    seen, near, far = views.depth > 0, views.cameras.near, views.cameras.far
    if bool((seen & ((views.depth < near) | (views.depth > far))).any()):
        yield f"depth lies outside [{near:g}, {far:g}]"
    share = float((seen & solid).sum() / solid.sum())
    if share < 0.5:
        yield f"only {share:.0%} of the object's pixels have a depth"


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
