"""Each check finds the fault it is for, and only that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aligncvc.render.results import check_folder, check_views
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.views import Views, save_views

SIZE = 32


def good() -> Views:
    """A shaded square in the middle of four views."""
    rgba = torch.zeros(4, 4, SIZE, SIZE)
    rgba[:, :3, 8:24, 8:24] = torch.linspace(0.2, 0.8, 16)
    rgba[:, 3, 8:24, 8:24] = 1
    depth = torch.where(rgba[:, 3] > 0, 3.0, 0.0)
    normals = torch.zeros(4, 3, SIZE, SIZE)
    cameras = orbit(ring_azimuths_deg(4), 10.0, distance=3.0, fov_y_deg=39.6, size_px=SIZE)
    return Views(rgba, cameras, depth, normals)


def test_a_good_object_passes() -> None:
    assert check_views(good()) is None


def changed(name: str, index: tuple[object, ...], value: float) -> Views:
    views = good()
    tensor = getattr(views, name).clone()
    tensor[index] = value
    return replace(views, **{name: tensor})


@pytest.mark.parametrize(("views", "reason"), [
    (changed("rgba", (slice(None), 3), 0.0), "covers 0.00% of the input view"),
    (changed("rgba", (0, 3), 0.0), "covers 0.00% of the input view"),
    (changed("rgba", (2, 3), 0.0), "view 2 is empty"),
    (changed("rgba", (1, 3), 1.0), "covers 100.0% of view 1"),
    (changed("rgba", (3, 3, 0, 10), 1.0), "touches the border of view 3"),
    (changed("rgba", (1, 3, 10, SIZE - 1), 1.0), "touches the border of view 1"),
    (changed("rgba", (slice(None), slice(0, 3)), 0.5), "one constant colour"),
    (changed("depth", (0, 9, 9), float("nan")), "depth hold values that are not finite"),
    (changed("depth", (0, 9, 9), float("inf")), "depth hold values that are not finite"),
    (changed("normals", (0, 0, 9, 9), float("nan")), "normals hold values"),
    (changed("depth", (0, 9, 9), 9.0), "depth lies outside"),
    (changed("depth", (0, 9, 9), -1.0), "depth is negative"),
    (changed("depth", (slice(0, 3),), 0.0), "only 25% of the object's pixels have a depth"),
])  # fmt: skip
def test_faults_are_named(views: Views, reason: str) -> None:
    found = check_views(views)
    assert found is not None and reason in found


def test_soft_spill_over_the_border_is_allowed() -> None:
    assert check_views(changed("rgba", (0, 3, 0, slice(8, 24)), 0.3)) is None


def test_a_protocol_may_keep_objects_that_reach_the_border() -> None:
    views = good()
    views.rgba[2, 3, 0, 8:24] = 1
    views.depth[2, 0, 8:24] = 3.0
    assert check_views(views) == "the object touches the border of view 2"
    assert check_views(views, cropped=True) is None


def test_an_edge_on_view_is_allowed() -> None:
    """A flat object covers little of some views; only the input view and the mean must be well filled."""
    views = changed("rgba", (1, 3), 0.0)
    views.rgba[1, 3, 8:24, 16] = 0.3
    assert check_views(views) is None


def test_folder_check_counts_and_measures(tmp_path: Path) -> None:
    save_views(tmp_path, good())
    assert check_folder(tmp_path, 4, SIZE) is None
    assert "expected RGBA (64, 64)" in str(check_folder(tmp_path, 4, 64))
    (tmp_path / "002.png").unlink()
    assert check_folder(tmp_path, 4, SIZE) == "files missing or left over: 002.png"
