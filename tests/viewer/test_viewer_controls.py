"""What people do to a model on a page: pinch it, press its buttons, look at it in the dark."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from devtools import Page

from aligncvc.scene.gaussians import Gaussians, is_viewer_ply, load_ply, save_ply
from aligncvc.viewer.page import ViewSettings, write_viewer
from aligncvc.viewer.ply import for_viewers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
LIVE = "document.querySelector('.gs-viewer').dataset.state === 'live'"
PRESS = "document.querySelector('.gs-tools [aria-label^=\"{}\"]').click()"


def cloud() -> Gaussians:
    random = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(300, 3, generator=random), dim=1)
    return Gaussians(
        direction * torch.tensor([0.5, 0.3, 0.4]) + torch.tensor([0.1, 0.0, 0.1]),
        torch.rand(300, 3, generator=random) * 0.05 + 0.02,
        torch.nn.functional.normalize(torch.randn(300, 4, generator=random), dim=1),
        torch.rand(300, generator=random) * 0.8 + 0.1,
        direction * 0.4 + 0.45,
    )


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of one model on a telephone."""
    folder = tmp_path_factory.mktemp("phone")
    view = ViewSettings(spin_deg_s=0)
    write_viewer(folder / "page.html", cloud(), "cloud", view=view)
    assert CHROMIUM is not None
    with Page(CHROMIUM, (folder / "page.html").as_uri(), folder / "profile", 390, 700, touch=True) as page:
        page.until(LIVE)
        yield page


def covered(pixels: np.ndarray) -> float:
    """Share of a light picture's middle that the model hides."""
    return float((pixels[150:550].min(-1) < 200).mean())


def middle(page: Page) -> dict[str, int]:
    box = page.run(
        "(() => { const r = document.querySelector('.gs-viewer').getBoundingClientRect();"
        " return [r.x + r.width / 2, r.y + r.height / 2] })()"
    )
    return {"x": round(box[0]), "y": round(box[1])}


def test_two_fingers_zoom_the_model_and_not_the_page(phone: Page) -> None:
    before = phone.picture()
    phone.pinch(**middle(phone), gaps=(80, 90, 100, 110, 120))
    near = phone.picture()
    assert covered(near) > 1.3 * covered(before)
    assert phone.run("window.visualViewport.scale") == 1
    phone.run(PRESS.format("First view"))
    assert np.array_equal(phone.picture(), before)


def test_the_model_that_is_saved_is_the_one_that_is_shown(phone: Page, tmp_path: Path) -> None:
    """In the layout and the frame of the PLY for viewers, with the page's rounding."""
    phone.run("URL.createObjectURL = (blob) => { window.saved = blob; return '#'; }")
    phone.run(PRESS.format("Download"))
    letters = "[...new Uint8Array(b)].map((c) => String.fromCharCode(c)).join('')"
    text = phone.run(f"saved.arrayBuffer().then((b) => btoa({letters}))")
    (tmp_path / "page.ply").write_bytes(base64.b64decode(text))
    assert is_viewer_ply(tmp_path / "page.ply")
    # widening for a picture without pixels' width changes nothing but the frame
    save_ply(tmp_path / "ours.ply", for_viewers(cloud(), 10**6, ViewSettings()))
    found, ours = (load_ply(tmp_path / name) for name in ("page.ply", "ours.ply"))
    for name, most in (
        ("means", 1e-4),
        ("scales", 2e-3),
        ("quats", 0.01),
        ("opacities", 0.003),
        ("colors", 0.003),
    ):
        assert float((getattr(found, name) - getattr(ours, name)).abs().max()) < most, name


@pytest.mark.parametrize("offered", [True, False])
def test_full_screen_also_where_the_browser_offers_none(phone: Page, offered: bool) -> None:
    box = "document.querySelector('.gs-viewer')"
    if not offered:
        phone.run(f"{box}.requestFullscreen = undefined")
    phone.run(PRESS.format("Full"))
    phone.until(f"{box}.clientWidth === innerWidth && {box}.clientHeight === innerHeight")
    assert phone.run(f"document.fullscreenElement === {box}") is offered
    phone.run(PRESS.format("Full"))
    phone.until(f"{box}.clientHeight < innerHeight")


def test_the_model_stands_in_the_dark_where_the_page_is_dark(phone: Page) -> None:
    light = phone.picture()
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    phone.send("Emulation.setEmulatedMedia", features=[scheme])
    dark = phone.picture()
    phone.send("Emulation.setEmulatedMedia", features=[{**scheme, "value": "light"}])
    at = middle(phone)
    corner = at["y"] + 150, at["x"] - 150  # of the view, where no model is
    assert light[corner].tolist() == [255] * 3 and max(dark[corner]) < 80
    assert np.array_equal(phone.picture(), light)
