"""Self-contained web pages in which 3D Gaussians can be turned: pieces of HTML, whole pages.

The drawing is ours (`templates/viewer.js`, WebGL2): the EWA projection of `aligncvc.splat`, the cameras of
`aligncvc.scene.cameras`. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aligncvc.files import write_text
from aligncvc.scene.gaussians import VIEWER_MARK, Gaussians
from aligncvc.splat.constants import BLUR_PX2
from aligncvc.viewer.pack import pack, widen_to_pixels
from aligncvc.viewer.templating import render_template, template_text

COMMENT = f"{VIEWER_MARK}; as wide as the page that it was saved from shows it"
"""Header of the PLY that a viewer gives out: nothing to measure a method by."""


class Posed(Protocol):
    """Settings that say where the input view stands: of renders, or of a photograph's job."""

    @property
    def elevation_deg(self) -> float: ...
    @property
    def distance(self) -> float: ...
    @property
    def fov_y_deg(self) -> float: ...


@dataclass(frozen=True)
class ViewSettings:
    """Where the viewer's camera starts: degrees, world units; spin_deg_s = 0 stands still."""

    azimuth_deg: float = 0.0
    elevation_deg: float = 10.0
    distance: float = 3.0
    fov_y_deg: float = 39.6
    spin_deg_s: float = 24.0

    @classmethod
    def of(cls, posed: Posed) -> ViewSettings:
        """The pose of the input view by these settings."""
        return cls(elevation_deg=posed.elevation_deg, distance=posed.distance, fov_y_deg=posed.fov_y_deg)

    @property
    def lens(self) -> dict[str, float]:
        """What `orbit` and `widen_to_pixels` take."""
        return {"distance": self.distance, "fov_y_deg": self.fov_y_deg}


def viewer_html(
    name: str, gaussians: Gaussians | None, *, label: str, view: ViewSettings, poster: str | None = None
) -> str:
    """One viewer for a page that also holds viewer.css and viewer.js; the packed model has the id `name`.

    gaussians: None shows the poster alone, in the same frame.
    poster: a data: address of a picture that is shown until, or instead of, the live model.
    """
    name, label = html.escape(name, quote=True), html.escape(label, quote=True)
    picture = "" if poster is None else f'<img src="{poster}" alt="{label}" loading="lazy">'
    if gaussians is None:
        return f'<div class="gs-viewer" data-state="picture">{picture}</div>'
    pose = {"azimuth": view.azimuth_deg, "elevation": view.elevation_deg, "distance": view.distance}
    settings = {
        **pose,
        "fov": view.fov_y_deg,
        "spin": view.spin_deg_s,
        "lowpass": BLUR_PX2,
        "comment": COMMENT,
    }
    packed = pack(gaussians)
    meta, view_data = (html.escape(json.dumps(facts), quote=True) for facts in (packed.meta, settings))
    return (
        f'<div class="gs-viewer" data-model="{name}" data-label="{label}">{picture}</div>'
        f'<script type="text/plain" id="{name}" data-meta="{meta}" data-view="{view_data}">'
        f"{base64.b64encode(packed.data).decode('ascii')}</script>"
    )


def write_viewer(
    path: Path | str,
    gaussians: Gaussians,
    title: str,
    *,
    caption: str = "",
    native_px: int | None = None,
    poster: str | None = None,
    view: ViewSettings | None = None,
    bare: bool = False,
) -> None:
    """Write a page that shows one model.

    native_px: the resolution the model was made for (see `widen_to_pixels`); None draws it as it is.
    bare: only the model, filling the window.
    """
    view = view or ViewSettings()
    if native_px is not None:
        gaussians = widen_to_pixels(gaussians, native_px, **view.lens)
    body = viewer_html("model", gaussians, label=title, view=view, poster=poster)
    page = render_template(
        "viewer.html",
        title=title,
        caption=caption,
        count=f"{len(gaussians):,}",
        viewer=body,
        bare=bare,
        css=template_text("viewer.css"),
        js=template_text("viewer.js"),
    )
    write_text(path, page)
