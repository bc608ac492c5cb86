"""Coherence of views: shares counted by hand, balls whose silhouettes are known, views that show nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aligncvc.evaluate.coherence import coherence_family
from aligncvc.evaluate.families import without_value
from aligncvc.evaluate.trial import Trial
from aligncvc.metrics.coherence import COLOUR_VIEWS, coherence
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.views import OFF_WHITE, Views, silhouettes

SIZE = 64


def ring(count: int, size: int = SIZE, elevation_deg: float = 10.0) -> Cameras:
    azimuths = ring_azimuths_deg(count)
    return orbit(azimuths, elevation_deg, distance=3.0, fov_y_deg=39.6, size_px=size)


def ball(cameras: Cameras, radius: float) -> tuple[Tensor, Tensor]:
    """A ball round the origin on white, coloured by where a point lies: (V, 3, H, W); and its mask."""
    origins, directions = cameras.rays()
    middle = -(origins * directions).sum(-3, keepdim=True)
    inside = middle.square() - origins.square().sum(-3, keepdim=True) + radius**2
    points = origins + (middle - inside.clamp_min(0).sqrt()) * directions
    mask = inside > 0
    return (0.4 + 0.3 * points / radius).where(mask, torch.ones(())), mask[:, 0]


@pytest.mark.parametrize(("count", "size"), [(2, 64), (4, 32), (4, 64), (4, 256), (8, 64)])
def test_silhouettes_of_one_object_are_coherent_at_any_size(count: int, size: int) -> None:
    cameras = ring(count, size)
    assert coherence(ball(cameras, 0.7)[0], cameras).silhouette.tolist() == [1.0] * count


def bars(rows: list[int]) -> Tensor:
    """(V, 3, SIZE, SIZE) on white: 16 columns of black from row 16 to before the given row, view by view."""
    views = torch.ones(len(rows), 3, SIZE, SIZE)
    for view, end in zip(views, rows, strict=True):
        view[:, 16:end, 24:40] = 0
    return views


def test_what_the_other_view_does_not_allow_is_counted() -> None:
    # Two cameras face each other at height 0. Below the horizon (row 32) the second shows nothing but the
    # pixel that its silhouette grows by: row 32. A ray of row r is r + 0.5 - 32 px below it in the first
    # view. Where it enters the sphere, 2 and 4 from the cameras, it is half as much in the second: rows 32
    # and 33 are supported, row 34 is not. So 16 + 2 of 32 rows are.
    found = coherence(bars([48, 32]), ring(2, elevation_deg=0.0)).silhouette
    assert found.tolist() == pytest.approx([18 / 32, 1.0], abs=1e-12)


def test_views_that_show_nothing_have_no_score_and_support_nothing() -> None:
    cameras = ring(2, elevation_deg=0.0)
    assert coherence(torch.ones(2, 3, SIZE, SIZE), cameras).silhouette.isnan().all()
    one_empty = coherence(bars([48, 16]), cameras).silhouette
    assert float(one_empty[0]) == 0 and math.isnan(one_empty[1])


def test_what_lies_outside_the_unit_sphere_is_unsupported() -> None:
    # The sphere, larger by 1.5 px, covers this share of an image that is black all over.
    cameras = ring(4)
    reach = 1 + 1.5 * 3 / cameras.focal_px
    seen = cameras.focal_px * reach / math.sqrt(9 - reach**2)  # radius of its outline in px
    corner = coherence(torch.zeros(4, 3, SIZE, SIZE), cameras).silhouette
    y, x = torch.meshgrid(*[torch.arange(SIZE) + 0.5 - SIZE / 2] * 2, indexing="ij")
    expected = float(((x.square() + y.square()).sqrt() < seen).double().mean())
    assert expected < 0.97 and corner.tolist() == pytest.approx([expected] * 4, abs=2e-3)


def test_white_and_nearly_white_is_background() -> None:
    views = torch.ones(1, 3, 2, 2)
    views[0, 1, 0, 0], views[0, 2, 1, 1] = 1 - OFF_WHITE - 0.01, 1 - OFF_WHITE + 0.01
    assert silhouettes(views)[0].tolist() == [[True, False], [False, False]]


def test_colours_of_one_object_predict_each_other() -> None:
    cameras = ring(COLOUR_VIEWS)
    views, mask = ball(cameras, 0.7)
    _, psnr, covered = coherence(views, cameras)
    assert float(covered.min()) > 0.9 and float(psnr.min()) > 20
    copied = coherence(views[:1].expand_as(views), cameras).psnr
    assert float(copied.max()) < float(psnr.min()) - 5, "colours that do not turn with the object"
    dark = views.clone()
    dark[3] = (views[3] * 0.5).where(mask[3], torch.ones(()))
    changed = coherence(dark, cameras).psnr
    assert int((changed - psnr).argmin()) == 3 and float(changed[3]) < float(psnr[3]) - 5
    assert changed[[0, 6, 7]].tolist() == pytest.approx(psnr[[0, 6, 7]].tolist()), "these do not see its side"


def test_four_views_say_nothing_of_colours() -> None:
    cameras = ring(4)
    _, psnr, covered = coherence(ball(cameras, 0.7)[0], cameras)
    assert psnr.isnan().all() and covered.isnan().all()


def trial(count: int, steps: int) -> Trial:
    cameras = ring(count)
    views, mask = ball(cameras, 0.7)
    rgba = torch.cat([views, mask[:, None].float()], 1)
    generated = views.expand(steps, *views.shape).clone()
    generated[0] = ball(cameras, 0.4)[0]
    generated[0, 0] = views[0]
    scored = list(range(count))
    return Trial(
        "ball", 0, Views(rgba, cameras), scored, scored, 1.0, generated, None, None, None, {}
    )  # fmt: skip


def test_each_measured_step_has_its_views_and_their_mean() -> None:
    found = {(v.metric, v.view, v.step): v.value for v in coherence_family(trial(4, 2), "all")}
    places = [(view, step) for view in (-1, 0, 1, 2, 3) for step in (1, 2)]
    assert found.keys() == {("silhouette_coherence", *place) for place in places}
    assert found["silhouette_coherence", -1, 2] == 1.0 > found["silhouette_coherence", 0, 1]
    singles = [found["silhouette_coherence", view, 1] for view in range(4)]
    assert found["silhouette_coherence", -1, 1] == pytest.approx(sum(singles) / 4)
    assert {v.step for v in coherence_family(trial(4, 3), "last")} == {1, 3}, "the first and the last"


def test_dense_rigs_have_colours_too_and_others_a_reason() -> None:
    assert {v.metric for v in coherence_family(trial(8, 2), "last")} == {
        "silhouette_coherence", "hull_psnr", "hull_covered",
    }  # fmt: skip
    assert "hull_psnr" in without_value(trial(4, 1)) and "hull_psnr" not in without_value(trial(8, 1))
