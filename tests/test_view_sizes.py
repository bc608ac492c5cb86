"""The one rule by which images of two sizes are compared."""

from __future__ import annotations

import pytest
import torch

from aligncvc.scene.views import at_common_size, reduced


def test_equal_sizes_come_back_untouched() -> None:
    one, other = torch.rand(2, 3, 8, 8), torch.rand(5, 4, 1, 8, 8)
    first, second = at_common_size(one, other)
    assert first is one and second is other


def test_the_larger_are_reduced_to_means_over_blocks() -> None:
    small, large = torch.rand(3, 4, 4), torch.rand(2, 5, 3, 12, 8)
    same, means = at_common_size(small, large)
    assert same is small and means.shape == (2, 5, 3, 4, 4)
    blocks = large.unflatten(-1, (4, 2)).unflatten(-3, (4, 3)).mean((-3, -1))
    torch.testing.assert_close(means, blocks)


def test_other_factors_are_antialiased() -> None:
    ramp = torch.linspace(0, 1, 12).expand(1, 3, 12, 12)
    small = reduced(ramp, (8, 8))
    torch.testing.assert_close(small[0, 0, 0], small[0, 2, 7])
    assert small.shape == (1, 3, 8, 8) and bool((small.diff(dim=-1) > 0).all())
    checks = (torch.arange(12) % 2).float().expand(1, 3, 12, 12)  # finer than 5 pixels can show
    assert float((reduced(checks, (5, 5)) - 0.5).abs().max()) < 0.2


def test_gradients_pass_and_nothing_is_enlarged() -> None:
    large = torch.rand(1, 2, 3, 8, 8, requires_grad=True)
    reduced(large, (4, 4)).sum().backward()
    torch.testing.assert_close(large.grad, torch.full_like(large, 0.25))
    with pytest.raises(ValueError, match="8x8 pixels cannot be reduced to 16x4"):
        reduced(large, (4, 16))
