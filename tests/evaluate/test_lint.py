"""Each defect is put into a real render and found; the render itself passes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.evaluate.lint import is_premultiplied, lint_views, require_clean
from aligncvc.scene.camera_formats import to_opengl
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.views import composite, load_png

DATA = Path(__file__).parent / "data"
VIEWS = 16
CAMERAS = orbit(ring_azimuths_deg(VIEWS), 10.0, distance=3.0, fov_y_deg=39.6, size_px=64)


def render(name: str) -> Tensor:
    """(16, 4, 64, 64): the demo's own renders of one object."""
    return torch.stack(load_png(DATA / f"{name}.png").split(64, dim=2))


@pytest.fixture
def bear() -> Tensor:
    return render("teddy-bear")


def levels(images: Tensor) -> Tensor:
    """Rounded to 8 bit, as files hold them."""
    return (images.clamp(0, 1) * 255).round() / 255


def premultiplied(rgba: Tensor) -> Tensor:
    return torch.cat([levels(rgba[:, :3] * rgba[:, 3:]), rgba[:, 3:]], 1)


def dimmed(rgba: Tensor, factor: float) -> Tensor:
    return torch.cat([levels(rgba[:, :3] * factor), rgba[:, 3:]], 1)


def lint(rgba: Tensor, cameras: Cameras = CAMERAS, **options: object) -> list[str]:
    """The errors."""
    given: dict[str, Any] = {"expected": VIEWS, **options}
    return [f.text for f in lint_views(rgba, cameras, where="renders/bear", **given) if f.fatal]


def warnings(rgba: Tensor, **options: Any) -> list[str]:
    return [f.text for f in lint_views(rgba, CAMERAS, where="renders/bear", **options) if not f.fatal]


def only(findings: list[str], *words: str) -> None:
    """One finding, which names the place and holds the words."""
    assert len(findings) == 1, findings
    assert findings[0].startswith("renders/bear: ")
    for word in words:
        assert word in findings[0]


@pytest.mark.parametrize("name", ["teddy-bear", "outdoor-lamp"])
def test_real_renders_are_clean(name: str) -> None:
    rgba = render(name)
    assert lint(rgba) == []
    assert require_clean(rgba, CAMERAS, where=name, expected=VIEWS) == []


@pytest.mark.parametrize("factor", [0.6, 0.3, 0.1, 0.0])
@pytest.mark.parametrize("name", ["teddy-bear", "outdoor-lamp"])
def test_dark_objects_are_not_taken_for_premultiplied(name: str, factor: float) -> None:
    assert not is_premultiplied(dimmed(render(name), factor))


def test_binary_alpha_is_the_same_both_ways(bear: Tensor) -> None:
    hard = torch.cat([bear[:, :3], (bear[:, 3:] > 0.5).float()], 1)
    assert not is_premultiplied(hard)
    assert not is_premultiplied(premultiplied(hard))


@pytest.mark.parametrize("factor", [1.0, 0.6])
@pytest.mark.parametrize("name", ["teddy-bear", "outdoor-lamp"])
def test_premultiplied(name: str, factor: float) -> None:
    only(lint(premultiplied(dimmed(render(name), factor))), "premultiplied", "divide")


def test_alpha_missing_in_some_views(bear: Tensor) -> None:
    bear[[3, 5], 3] = 1
    only(lint(bear), "alpha is missing", "views 3 and 5 are opaque everywhere")


def test_object_at_the_border(bear: Tensor) -> None:
    rows = int((bear[2, 3] > 0.5).any(1).nonzero().min())
    bear[2] = bear[2].roll(-rows, dims=1)
    only(lint(bear), "touches the border", "view 2 is cut off")
    assert lint(bear, allow_border=True) == []
    (warning,) = require_clean(bear, CAMERAS, where="renders/bear", allow_border=True)
    assert "view 2 is cut off" in warning


def test_empty_view(bear: Tensor) -> None:
    bear[7] = 0
    only(lint(bear), "view 7 is empty")


def test_cameras_of_another_convention(bear: Tensor) -> None:
    blender = replace(CAMERAS, c2w=to_opengl(CAMERAS.c2w))
    only(lint(bear, blender), "not facing the object", "camera", "convention")


def test_a_camera_that_looks_past_the_object(bear: Tensor) -> None:
    c2w = CAMERAS.c2w.clone()
    turn, angle = torch.eye(4), math.radians(39.6 / 2 + 1)  # just out of the frame
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    c2w[4] = c2w[4] @ turn
    only(lint(bear, replace(CAMERAS, c2w=c2w)), "camera 4 is not facing the object")


def test_scaled_and_mirrored_axes(bear: Tensor) -> None:
    c2w = CAMERAS.c2w.clone()
    c2w[1, :3, :3] *= 2
    c2w[2, :3, 0] *= -1
    only(lint(bear, replace(CAMERAS, c2w=c2w)), "cameras 1 and 2 are no rotation")


def test_equal_views_at_different_poses(bear: Tensor) -> None:
    bear[9] = bear[1]
    only(lint(bear), "views 1 and 9 are one image")


def test_nearly_equal_views_are_two(bear: Tensor) -> None:
    bear[9] = bear[1]
    bear[9, 0, 32, 32] = (bear[9, 0, 32, 32] + 1 / 255) % 1
    assert lint(bear) == []


def test_equal_cameras(bear: Tensor) -> None:
    c2w = CAMERAS.c2w.clone()
    c2w[6] = c2w[5]
    only(lint(bear, replace(CAMERAS, c2w=c2w)), "cameras 5 and 6 are the same")


def test_wrong_count(bear: Tensor) -> None:
    only(lint(bear[:15], CAMERAS[list(range(15))]), "15 views where the rig has 16")
    only(lint(bear, CAMERAS[list(range(15))]), "16 images but 15 cameras")
    assert lint(bear[:15], CAMERAS[list(range(15))], expected=None) == []


def test_sizes_differ(bear: Tensor) -> None:
    only(lint(bear, CAMERAS.resized(128, 128)), "64x64", "128x128")


def test_cameras_that_are_not_finite(bear: Tensor) -> None:
    c2w = CAMERAS.c2w.clone()
    c2w[8, 0, 3] = math.nan
    only(lint(bear, replace(CAMERAS, c2w=c2w)), "camera 8 is not finite")


def test_all_defects_are_listed_in_one_error(bear: Tensor) -> None:
    bear[7] = 0
    bear[9] = bear[1]
    with pytest.raises(UserError) as caught:
        require_clean(premultiplied(bear), CAMERAS, where="renders/bear", expected=12)
    message = str(caught.value)
    for words in ("16 views where the rig has 12", "view 7 is empty", "premultiplied", "views 1 and 9"):
        assert message.count(words) == 1
    assert message.count("renders/bear: ") == 4


def test_a_small_object_is_a_warning(bear: Tensor) -> None:
    small = torch.zeros_like(bear)
    small[..., 28:36, 28:36] = torch.nn.functional.avg_pool2d(bear, 8)
    assert lint(small) == []
    (warning,) = warnings(small)
    assert "less than 2%" in warning
    assert require_clean(small, CAMERAS, where="renders/bear") == [warning]


def test_a_prediction_answers_for_its_form_only(bear: Tensor) -> None:
    """Cut off, equal and empty views are results; premultiplied colours are mistakes."""
    bear[7] = 0
    bear[9] = bear[1]
    bear[2] = bear[2].roll(-int((bear[2, 3] > 0.5).any(1).nonzero().min()), dims=1)
    assert lint(bear, predicted=True) == []
    assert len(warnings(bear, predicted=True)) == 3
    only(lint(premultiplied(bear), predicted=True), "premultiplied")


def test_a_prediction_without_alpha_stands_on_white(bear: Tensor) -> None:
    assert lint(composite(bear, 1.0), predicted=True) == warnings(composite(bear, 1.0), predicted=True) == []
    for grey in (254, 250):  # costs PSNR: 49 and 35 dB where white gives 100
        assert lint(composite(bear, grey / 255), predicted=True) == []
        only(warnings(composite(bear, grey / 255), predicted=True), "not quite white")
    only(lint(composite(bear, 0.0), predicted=True), "background must be white", "0")
