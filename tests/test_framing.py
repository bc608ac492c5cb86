"""Apparent size: a known object drawn in one rig and seen in another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aligncvc.bench.synthetic import random_gaussians, views_of
from aligncvc.errors import UserError
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.framing import at_field_of_view
from aligncvc.scene.rigs import Rig, fov_covering, half_width
from aligncvc.section import Section
from aligncvc.splat import rasterise

SIZE_PX = 96
AZIMUTHS = [0.0, 70.0, 200.0]


def ring(fov_y_deg: float, distance: float = 3.0) -> Cameras:
    return orbit(AZIMUTHS, 10.0, distance=distance, fov_y_deg=fov_y_deg, size_px=SIZE_PX)


def drawn(cameras: Cameras, background: float = 1.0) -> Tensor:
    """Views (V, 3, H, W) of a ball of leaves of radius 0.8, smooth enough to be resampled."""
    gaussians = random_gaussians(300)[0]
    smooth = replace(gaussians, scales=gaussians.scales.detach() + 0.06)
    return rasterise(smooth, cameras, background=background).rgb.detach()


@pytest.mark.parametrize("wanted", [30.0, 33.8, 49.1, 70.0])
def test_padding_and_cropping_are_what_another_lens_sees_from_the_same_place(wanted: float) -> None:
    views, cameras = at_field_of_view(drawn(ring(39.6)), ring(39.6), wanted)
    assert views.shape == (3, 3, SIZE_PX, SIZE_PX) and torch.equal(cameras.c2w, ring(39.6).c2w)
    expected = drawn(ring(wanted))
    assert float((views - expected).abs().mean()) < 0.004
    unmatched = float((drawn(ring(39.6)) - expected).abs().mean())
    assert unmatched > 0.05


def test_a_generators_rig_gives_objects_the_size_that_it_was_trained_with() -> None:
    """SV3D's rig covers 1.43 radii; from another distance the silhouette still fills as much of the view."""
    rig = Rig(azimuths_deg=AZIMUTHS, distance=4.7, fov_y_deg=33.8)
    assert rig.half_width == pytest.approx(half_width(4.7, 33.8)) == pytest.approx(1.428, abs=1e-3)
    fov = fov_covering(rig.half_width, 3.0)
    ours, _ = at_field_of_view(drawn(ring(39.6)), ring(39.6), fov)
    theirs = drawn(ring(33.8, 4.7))

    def height(views: Tensor) -> Tensor:
        """Rows that the object covers, of SIZE_PX."""
        return ((1 - views.amin(1)).amax(-1) > 0.5).float().sum(-1)

    torch.testing.assert_close(height(ours), height(theirs), rtol=0.06, atol=1.5)
    assert (height(drawn(ring(39.6))) > 1.2 * height(theirs)).all()


def test_there_and_back_is_the_same_view() -> None:
    wide, cameras = at_field_of_view(drawn(ring(39.6)), ring(39.6), 49.1)
    back, again = at_field_of_view(wide, cameras, 39.6)
    assert again.fov_y_deg == 39.6 and float((back - drawn(ring(39.6))).abs().mean()) < 0.01


def test_transparent_pictures_stay_what_they_are_over_any_background() -> None:
    cameras = ring(39.6)
    gaussians = random_gaussians(300)[0]
    rgba = views_of(rasterise(gaussians, cameras, background=0.0), cameras).rgba.detach()
    padded, _ = at_field_of_view(rgba, cameras, 55.0)
    on_white = at_field_of_view(rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:], cameras, 55.0)[0]
    torch.testing.assert_close(padded[:, :3] * padded[:, 3:] + 1 - padded[:, 3:], on_white, atol=2e-3, rtol=0)
    assert float(padded[:, 3, 0].max()) == 0


def test_background_batches_and_gradient() -> None:
    views = drawn(ring(39.6), 0.7)[None].expand(2, -1, -1, -1, -1).clone().requires_grad_(True)
    padded, _ = at_field_of_view(views, ring(39.6), 55.0, background=0.7)
    assert padded.shape == views.shape and float((padded[..., 0, 0] - 0.7).abs().max()) < 1e-6
    padded.sum().backward()
    assert views.grad is not None and float(views.grad.min()) > 0


def test_sizes_in_pixels_do_not_move_the_picture() -> None:
    """Views and renderings of other sizes stay over each other: no rounding to whole pixels."""
    views = drawn(ring(39.6))
    small = views.unflatten(-1, (-1, 3)).unflatten(-3, (-1, 3)).mean((-3, -1))
    large = at_field_of_view(views, ring(39.6), 45.3)[0]
    means = large.unflatten(-1, (-1, 3)).unflatten(-3, (-1, 3)).mean((-3, -1))
    assert float((at_field_of_view(small, ring(39.6), 45.3)[0] - means).abs().mean()) < 0.004


def test_a_rig_names_both_or_neither() -> None:
    assert issubclass(Rig, Section)
    with pytest.raises(UserError, match="go together"):
        Rig.parsed({"azimuths_deg": AZIMUTHS, "fov_y_deg": 40}, "rigs.x")
