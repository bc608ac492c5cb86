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
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat.constants import BLUR_PX2
from aligncvc.viewer.pack import pack, widen_to_pixels
from aligncvc.viewer.templating import render_template, template_text


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


def payload_html(name: str, gaussians: Gaussians, view: ViewSettings) -> str:
    """A <script> element that holds the packed model under the id `name`."""
    packed = pack(gaussians)
    meta = html.escape(json.dumps(packed.meta), quote=True)
    settings = html.escape(
        json.dumps(
            {
                "azimuth": view.azimuth_deg,
                "elevation": view.elevation_deg,
                "distance": view.distance,
                "fov": view.fov_y_deg,
                "spin": view.spin_deg_s,
                "lowpass": BLUR_PX2,
            }
        ),
        quote=True,
    )
    text = base64.b64encode(packed.data).decode("ascii")
    return (
        f'<script type="text/plain" id="{html.escape(name, quote=True)}" data-meta="{meta}" '
        f'data-view="{settings}">{text}</script>'
    )


def viewer_html(
    name: str, gaussians: Gaussians | None, *, label: str, view: ViewSettings, poster: str | None = None
) -> str:
    """One viewer for a page that also holds viewer.css and viewer.js.

    gaussians: None shows the poster alone, in the same frame.
    poster: a data: address of a picture that is shown until, or instead of, the live model.
    """
    label = html.escape(label, quote=True)
    picture = "" if poster is None else f'<img src="{poster}" alt="{label}" loading="lazy">'
    if gaussians is None:
        return f'<div class="gs-viewer" data-state="picture">{picture}</div>'
    return (
        f'<div class="gs-viewer" data-model="{html.escape(name, quote=True)}" data-label="{label}">{picture}'
        f"</div>{payload_html(name, gaussians, view)}"
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
        gaussians = widen_to_pixels(gaussians, native_px, distance=view.distance, fov_y_deg=view.fov_y_deg)
    body = viewer_html("model", gaussians, label=title, view=view, poster=poster)
    write_text(
        path,
        render_template(
            "viewer.html",
            title=title,
            caption=caption,
            count=f"{len(gaussians):,}",
            viewer=body,
            bare=bare,
            css=template_text("viewer.css"),
            js=template_text("viewer.js"),
        ),
    )
