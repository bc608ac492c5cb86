"""The shared step and its schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from aligncvc.config.sections import Config, parse_config
from aligncvc.errors import UserError
from aligncvc.loop.rollout import aware_step, clamp_straight_through, renoise, timesteps_for, view_noise
from aligncvc.models.generators import MultiViewGenerator
from aligncvc.models.pair import load_pair
from aligncvc.scene.renderset import RenderSet, batched


def test_listed_and_even_timesteps() -> None:
    config = Config()
    assert timesteps_for(4, config) == [999, 749, 599, 299]
    assert timesteps_for(1, config) == [999]
    assert timesteps_for(2, config) == [999, 499]
    assert timesteps_for(8, config) == [999, 874, 749, 624, 499, 374, 249, 124]


@pytest.mark.parametrize(
    "listed", [[999, 749, 599], [999, 749, 749, 299], [1000, 749, 599, 299], [999, 9, 5, -1]]
)
def test_bad_timesteps_are_refused(listed: list[int]) -> None:
    config = parse_config({"sample": {"timesteps": {4: listed}}}, "here")
    with pytest.raises(UserError, match=r"sample.timesteps.4"):
        timesteps_for(4, config)


def test_clamp_keeps_the_gradient() -> None:
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    y = clamp_straight_through(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(x.grad, torch.ones(3))


def test_view_noise_depends_on_names_only() -> None:
    a = view_noise((4, 2, 3, 3), 0, "sample", "chair", 1)
    assert torch.equal(a[:2], view_noise((2, 2, 3, 3), 0, "sample", "chair", 1))
    for other in (("sample", "chair", 2), ("sample", "table", 1)):
        assert not torch.equal(a, view_noise((4, 2, 3, 3), 0, *other))
    assert abs(float(view_noise((4, 4, 16, 16), 0, "x").std()) - 1) < 0.05


@pytest.fixture(scope="module")
def pair(config: Config) -> tuple[MultiViewGenerator, torch.nn.Module]:
    return load_pair(config)


def test_step_shapes_ranges_and_agreement_of_batches(
    pair: tuple[MultiViewGenerator, torch.nn.Module], renders: Path
) -> None:
    """Two objects together give what each gives alone: rows, cameras and Gaussians are not mixed up."""
    generator, reconstructor = pair
    renderset = RenderSet(renders, 32)
    rigs = [renderset.load(name).rig_from(0) for name in ("a", "b")]
    z = torch.stack([view_noise(generator.latent_shape(4), 0, name) for name in "ab"])

    def step(rows: slice) -> tuple[Tensor, Tensor]:
        chosen = rigs[rows]
        cameras = batched([c for _, c in chosen])
        condition = generator.encode_condition(torch.stack([v[0] for v, _ in chosen]), cameras.c2w)
        with torch.no_grad():
            result = aware_step(generator, reconstructor, z[rows], 749, condition, cameras, 1.3)
        assert result.views.shape == result.renderings.shape == (len(chosen), 4, 3, 32, 32)
        assert float(result.views.min()) >= 0 and float(result.views.max()) <= 1
        return result.views, result.renderings

    together, alone = step(slice(0, 2)), step(slice(1, 2))
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one, atol=1e-4, rtol=1e-4)


def test_gradient_of_the_renderings_can_be_left_out(
    pair: tuple[MultiViewGenerator, torch.nn.Module], renders: Path
) -> None:
    generator, reconstructor = pair
    images, cameras = RenderSet(renders, 32).load("a").rig_from(0)
    rig = batched([cameras])
    condition = generator.encode_condition(images[:1], rig.c2w)
    z = view_noise(generator.latent_shape(4), 0, "z")[None].requires_grad_(True)
    result = aware_step(generator, reconstructor, z, 749, condition, rig, 1.0, grad_3d=False)
    assert result.latents.requires_grad and not result.renderings.requires_grad
    assert aware_step(generator, reconstructor, z, 749, condition, rig, 1.0).renderings.requires_grad


def test_renoise_is_the_forward_process_of_the_encoding(
    pair: tuple[MultiViewGenerator, torch.nn.Module], renders: Path
) -> None:
    generator, _ = pair
    images, _ = RenderSet(renders, 32).load("a").rig_from(0)
    noise = view_noise(generator.latent_shape(4), 0, "n")[None]
    z = renoise(generator, images[None], noise, 599)
    abar = generator.scheduler.alphas_cumprod[599]
    wanted = abar.sqrt() * generator.encode(images[None]) + (1 - abar).sqrt() * noise
    torch.testing.assert_close(z, wanted)
