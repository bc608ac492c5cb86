"""A generator of 32 px whose Gaussians are drawn at 64 px: what is kept, and how it is read and scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import control_job, sample_job, write_renders

from aligncvc.errors import UserError
from aligncvc.evaluate.families import compared
from aligncvc.evaluate.samples import read_steps
from aligncvc.metrics.psnr import psnr
from aligncvc.paper.agreement import alike
from aligncvc.sample.control_views import control_set
from aligncvc.sample.sets import sample_set
from aligncvc.scene.renderset import RenderSet

VIEWS_PX, RENDERS_PX = 32, 64
SIZES = {"size_px": RENDERS_PX, "reconstructor": {"size_px": VIEWS_PX}}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_renders(tmp_path_factory.mktemp("renders64"), ("a",), RENDERS_PX)


@pytest.mark.parametrize(("feedback", "steps"), [("aligncvc", 2), ("two_stage", 3)])
@pytest.mark.parametrize("domains", ["colours", "both"])
def test_both_samplers_keep_views_and_renderings_at_their_sizes(
    large: Path, tmp_path: Path, feedback: str, steps: int, domains: str
) -> None:
    generator = {"size_px": VIEWS_PX, "domains": domains, "unet": {"cross_domain": domains == "both"}}
    sample_set(sample_job(feedback, steps, generator=generator, **SIZES), large, tmp_path / "out")
    posed = RenderSet(large, RENDERS_PX).load("a")
    views, renders = read_steps(tmp_path / "out/a/seed0/steps.npz", posed)
    assert views.shape == (steps, 4, 3, VIEWS_PX, VIEWS_PX)
    assert renders.shape == (steps, 4, 3, RENDERS_PX, RENDERS_PX)
    means = renders.unflatten(-1, (VIEWS_PX, 2)).unflatten(-3, (VIEWS_PX, 2)).mean((-3, -1))
    residual = compared(psnr, views, renders)
    expected = psnr(views.flatten(0, 1).double(), means.flatten(0, 1).double()).view(steps, 4)
    torch.testing.assert_close(residual, expected, rtol=1e-6, atol=1e-5)
    shown = alike(*(s.permute(0, 1, 3, 4, 2).numpy() for s in (views, renders)))
    assert shown[0].shape == shown[1].shape == (steps, 4, VIEWS_PX, VIEWS_PX, 3)
    np.testing.assert_allclose(shown[1], means.permute(0, 1, 3, 4, 2), atol=1e-6)


def test_controls_have_the_size_of_generated_views(large: Path, tmp_path: Path) -> None:
    control_set(control_job("gt", generator={"size_px": VIEWS_PX}, **SIZES), large, tmp_path / "out")
    posed = RenderSet(large, RENDERS_PX).load("a")
    views, renders = read_steps(tmp_path / "out/a/seed0/steps.npz", posed)
    assert views.shape[-1] == VIEWS_PX and renders.shape[-1] == RENDERS_PX
    truth = posed.rig_from(0)[0]
    means = truth.unflatten(-1, (VIEWS_PX, 2)).unflatten(-3, (VIEWS_PX, 2)).mean((-3, -1))
    assert float((views[0] - means).abs().max()) < 0.51 / 255


@pytest.mark.parametrize(
    "damage",
    [
        {"views": np.zeros((2, 3, 32, 32, 3), np.uint8)},
        {"views": np.zeros((1, 4, 32, 32, 3), np.uint8)},
        {"views": np.zeros((2, 4, 32, 32, 4), np.uint8)},
        {"views": np.zeros((2, 4, 0, 32, 3), np.uint8)},
        {"views": np.zeros((2, 4, 32, 32, 3), np.float32)},
        {"renders": np.zeros((2, 4, 32, 32, 3), np.uint8)},
        {"renders": np.uint8(0)},
    ],
)
def test_other_arrays_are_refused(large: Path, tmp_path: Path, damage: dict[str, np.ndarray]) -> None:
    posed = RenderSet(large, RENDERS_PX).load("a")
    right = {
        "views": np.zeros((2, 4, 32, 32, 3), np.uint8),
        "renders": np.zeros((2, 4, 64, 64, 3), np.uint8),
    }
    np.savez(tmp_path / "steps.npz", **right)
    assert read_steps(tmp_path / "steps.npz", posed)[0].shape == (2, 4, 3, 32, 32)
    np.savez(tmp_path / "odd.npz", **(right | damage))
    with pytest.raises(UserError, match="sample with the configuration of the renders"):
        read_steps(tmp_path / "odd.npz", posed)
