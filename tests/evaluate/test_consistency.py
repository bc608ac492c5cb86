"""The matched-pose residual pairs the right images and keeps steps and poses apart."""

from __future__ import annotations

import pytest
import torch

from aligncvc.errors import UserError
from aligncvc.evaluate import matched_pose_residual, psnr


def test_each_step_and_pose_is_compared_with_its_own() -> None:
    views = torch.zeros(2, 3, 3, 8, 8)
    renders = views.clone()
    offsets = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    residual = matched_pose_residual(views, renders + offsets[:, :, None, None, None], {"psnr": psnr})
    assert torch.allclose(residual["residual_psnr"], -20 * offsets.double().log10(), atol=1e-5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="do not match"):
        matched_pose_residual(torch.zeros(2, 4, 3, 8, 8), torch.zeros(2, 3, 3, 8, 8), {"psnr": psnr})
