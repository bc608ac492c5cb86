"""Packing, pages and turntables; the page's drawing against the rasteriser's where Chromium is installed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

from aligncvc.config.root import Config
from aligncvc.errors import UserError
from aligncvc.scene.cameras import orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import rasterise
from aligncvc.viewer.pack import Packed, pack, widen_to_pixels
from aligncvc.viewer.page import ViewSettings, viewer_html, write_viewer
from aligncvc.viewer.turntable import animation_bytes, turntable

PX = 200
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def cloud(count: int = 800) -> Gaussians:
    """An ellipsoid off the origin, coloured by direction, so that mirrored or turned pictures differ."""
    random = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    return Gaussians(
        direction * torch.tensor([0.6, 0.3, 0.5]) + torch.tensor([0.1, 0.0, 0.1]),
        torch.rand(count, 3, generator=random) * 0.06 + 0.01,
        torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=1),
        torch.rand(count, generator=random) * 0.9 + 0.05,
        direction * 0.5 + 0.5,
    )


def ink(pixels: np.ndarray) -> float:
    """How far a picture is from white paper, on average, in 0..255."""
    return float(np.abs(255 - pixels).mean())


def screenshot(
    page: Path, profile: Path, *flags: str, ready: Callable[[np.ndarray], bool], px: int = PX
) -> np.ndarray:
    """The page in a px x px window, as (px, px, 3) in 0..255.

    Chromium opens a wider window and gives it this size only for the picture, so the page must draw
    itself anew in that very frame. On a busy machine the browser may be photographed before its script
    ran, or not at all: pictures that are not `ready` are taken again, a few times. A page that stays so
    is returned as it is.
    """
    assert CHROMIUM is not None
    picture = page.with_suffix(".png")
    for attempt in range(6):
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader", "--hide-scrollbars", f"--user-data-dir={profile}-{attempt}",
            f"--window-size={px},{px}", "--virtual-time-budget=6000", f"--screenshot={picture}", *flags,
            page.as_uri(),
        ]  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["timeout", "-k", "1", "25", *command], capture_output=True, timeout=40, check=False
            )
        if picture.exists():
            with Image.open(picture) as image:
                pixels = np.asarray(image.convert("RGB")).astype(float)
            if ready(pixels):
                return pixels
    assert picture.exists(), "chromium took no picture in six attempts"
    return pixels


def unpack(packed: Packed) -> Gaussians:
    """The Gaussians that the page shows: the arithmetic of viewer.js."""
    n, (low, high), box = packed.count, packed.log_scale, np.array(packed.box)
    positions = np.frombuffer(packed.data, "<u2", 3 * n).reshape(n, 3) / 65535
    bytes_ = np.frombuffer(packed.data, np.uint8, offset=6 * n).astype(np.float64)
    scales, quats, rgba = np.split(bytes_, [3 * n, 7 * n])
    quats = quats.reshape(n, 4) / 127 - 1
    rgba = rgba.reshape(n, 4) / 255
    arrays = (
        box[:, 0] + positions * (box[:, 1] - box[:, 0]),
        np.exp(low + (high - low) * scales.reshape(n, 3) / 255),
        quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12),
        rgba[:, 3],
        rgba[:, :3],
    )
    return Gaussians(*(torch.from_numpy(np.ascontiguousarray(a)).float() for a in arrays))


def test_quantisation_error_is_bounded() -> None:
    g, packed = cloud(), pack(cloud())
    back = unpack(packed)
    assert len(packed.data) == 17 * len(g)
    width = g.means.amax(0) - g.means.amin(0)
    assert bool(((back.means - g.means).abs() <= width / 65535 * 0.51 + 1e-6).all())
    low, high = packed.log_scale
    assert float((back.scales.log() - g.scales.log()).abs().max()) <= (high - low) / 255 * 0.51
    assert float((back.colors - g.colors).abs().max()) <= 0.51 / 255
    assert float((back.opacities - g.opacities).abs().max()) <= 0.51 / 255
    assert float((back.quats - g.quats).abs().max()) < 0.01
    camera = orbit([30.0], 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)
    drawn = [rasterise(x, camera).rgb for x in (g, back)]
    assert float((drawn[0] - drawn[1]).abs().max()) < 0.03


def test_packing_twice_changes_nothing() -> None:
    once = unpack(pack(cloud()))
    twice = unpack(pack(once))
    torch.testing.assert_close(twice.means, once.means, atol=1e-6, rtol=0)
    torch.testing.assert_close(twice.scales, once.scales)


def test_models_that_cannot_be_packed_are_refused() -> None:
    g = cloud(3)
    g.means[1, 1] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        pack(g)


def test_one_and_no_gaussian_can_be_packed() -> None:
    assert torch.allclose(unpack(pack(cloud(1))).means, cloud(1).means)
    assert len(unpack(pack(cloud(4)[slice(0, 0)]))) == 0


def test_widening_adds_the_low_pass_of_the_native_size() -> None:
    """Drawn four times as large, the widened model is as soft as the original enlarged."""
    one = Gaussians(
        torch.zeros(1, 3), torch.full((1, 3), 0.02), torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1) * 0.9,
        torch.zeros(1, 3),
    )  # fmt: skip
    small = orbit([0.0], 0.0, distance=3.0, fov_y_deg=39.6, size_px=32)
    weight = float((1 - rasterise(one, small).rgb).sum()) * 16
    wide = widen_to_pixels(one, 32, distance=3.0, fov_y_deg=39.6)
    drawn, plain = (float((1 - rasterise(x, small.resized(128, 128)).rgb).sum()) for x in (wide, one))
    assert abs(drawn - weight) < 0.1 * weight < abs(plain - weight)


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    write_viewer(
        tmp_path / "a.html", cloud(5), "<b>chair</b> & more", caption="made from x.jpg", native_px=64
    )
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<b>chair" not in text and "&lt;b&gt;chair&lt;/b&gt; &amp; more" in text
    assert not re.search(r"https?://|//[a-z]+\.[a-z]+/|@import|fetch\(|XMLHttpRequest", text)
    assert "5 Gaussians" in text


def test_payload_says_what_the_page_needs() -> None:
    text = viewer_html("m", cloud(7), label="x", view=ViewSettings(elevation_deg=12.0), poster="data:,")
    meta = json.loads(re.search(r'data-meta="([^"]*)"', text)[1].replace("&quot;", '"'))
    view = json.loads(re.search(r'data-view="([^"]*)"', text)[1].replace("&quot;", '"'))
    assert meta["count"] == 7 and view["elevation"] == 12.0 and 'alt="x"' in text
    assert "<script" not in viewer_html("m", None, label="x", view=ViewSettings(), poster="data:,")


def test_view_settings_follow_the_renders() -> None:
    render = Config().render
    view = ViewSettings.of(render)
    assert (view.elevation_deg, view.distance, view.fov_y_deg) == (
        render.elevation_deg,
        render.distance,
        render.fov_y_deg,
    )


def test_turntable_turns_and_loops(tmp_path: Path) -> None:
    frames = turntable(cloud(), ViewSettings(), 4, 64, 48)
    assert frames.shape == (4, 3, 48, 48)
    assert float((frames[0] - frames[2]).abs().mean()) > 0.01
    (tmp_path / "t.webp").write_bytes(animation_bytes(frames, seconds=2.0))
    assert (tmp_path / "t.webp").read_bytes() == animation_bytes(frames, 2.0)
    with Image.open(tmp_path / "t.webp") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (4, (48, 48), 0)


@needs_chromium
@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 10.0), (90.0, 30.0)])
def test_browser_draws_what_the_rasteriser_draws(tmp_path: Path, azimuth: float, elevation: float) -> None:
    """Start poses from two sides: the page turns the right way, with the right colours and silhouette."""
    view = ViewSettings(azimuth_deg=azimuth, elevation_deg=elevation, spin_deg_s=0)
    write_viewer(tmp_path / "page.html", cloud(), "cloud", view=view, bare=True)
    camera = orbit([azimuth], elevation, distance=view.distance, fov_y_deg=view.fov_y_deg, size_px=PX)
    expected = rasterise(unpack(pack(cloud())), camera).rgb[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255

    def begun(pixels: np.ndarray) -> bool:
        """Not blank. A picture that is drawn, but wrong, is not taken again."""
        return ink(pixels) > 0

    drawn = screenshot(tmp_path / "page.html", tmp_path / "profile", ready=begun)
    assert ink(expected) > 5  # there is something to draw
    difference = np.abs(drawn - expected)
    assert difference.mean() < 1 and difference.max() < 12  # 8-bit blending rounds once for each layer


@needs_chromium
def test_without_webgl_the_poster_and_a_sentence_stay(tmp_path: Path) -> None:
    square = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1 1'><rect width='1' height='1' fill='red'/>"
    )
    red = "data:image/svg+xml," + quote(square + "</svg>")
    write_viewer(tmp_path / "page.html", cloud(), "cloud", poster=red, bare=True)

    def sentence(pixels: np.ndarray) -> bool:
        """Its pale strip lies over the foot of the poster."""
        return bool((np.abs(pixels[-30:] - [255, 0, 0]).max(-1) > 30).mean() > 0.3)

    drawn = screenshot(tmp_path / "page.html", tmp_path / "profile", "--disable-3d-apis", ready=sentence)
    assert (drawn[: PX // 2] == [255, 0, 0]).all()  # the poster
    assert sentence(drawn)
