"""Background removal on a real photograph, and a clear sentence where it cannot work."""

from __future__ import annotations

import pytest
import torch
from skimage import data

from aligncvc.errors import UserError
from aligncvc.models.encoders.background import remove_background


def test_a_cup_is_cut_out_of_its_table() -> None:
    image = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1).float() / 255
    result = remove_background(image)
    assert result.shape == (4, *image.shape[1:])
    assert torch.equal(result[:3], image)
    alpha = result[3]
    assert alpha.min() >= 0 and alpha.max() <= 1
    assert alpha[150:250, 250:350].mean() > 0.95  # the cup
    for corner in (alpha[:30, :30], alpha[:30, -30:], alpha[-30:, :30], alpha[-30:, -30:]):
        assert corner.mean() < 0.05
    assert torch.equal(remove_background(image), result)


def test_what_cannot_work_is_one_sentence() -> None:
    with pytest.raises(UserError, match="one single colour"):
        remove_background(torch.full((3, 32, 32), 0.5))
    with pytest.raises(UserError, match=r"\(3, H, W\)"):
        remove_background(torch.rand(4, 32, 32))
