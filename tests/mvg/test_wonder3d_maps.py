"""Wonder3D that is shown its own 3D model: what it is without one, and what a map says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aligncvc.models.generators.wonder3d.network import Wonder3D
from aligncvc.models.generators.wonder3d.settings import PRESETS as WONDER3D
from aligncvc.models.generators.wonder3d.settings import Settings as Wonder3DSettings
from aligncvc.models.generators.wonder3d_maps.network import MapsWonder3D
from aligncvc.models.generators.wonder3d_maps.settings import PRESETS, Settings
from aligncvc.models.kinds import takes_maps, trained_part
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Rendering, rasterise

SIZE_PX, RADIUS = 32, 0.4


def built() -> MapsWonder3D:
    """The tiny preset, with a reader whose last convolution is not zero."""
    torch.manual_seed(0)
    generator = MapsWonder3D(Settings.model_validate(PRESETS["tiny"]), SIZE_PX).eval()
    torch.nn.init.normal_(generator.maps.conv_out.weight, std=0.5)
    return generator.requires_grad_(False)


def plain(generator: MapsWonder3D) -> Wonder3D:
    """Wonder3D with the same weights."""
    own = Wonder3D(Wonder3DSettings.model_validate(WONDER3D["tiny"]), SIZE_PX).eval().requires_grad_(False)
    for name, part in own.parts().items():
        part.load_state_dict(generator.parts()[name].state_dict())
    return own


def ball() -> tuple[Rendering, Cameras]:
    """Opaque Gaussians on a sphere of RADIUS, drawn at four views of two objects."""
    points = torch.nn.functional.normalize(
        torch.randn(4000, 3, generator=torch.Generator().manual_seed(4)), dim=-1
    )
    count = len(points)
    model = Gaussians(
        means=RADIUS * points, scales=torch.full((count, 3), 0.02),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(count, 4), opacities=torch.full((count,), 0.99),
        colors=points / 2 + 0.5,
    )  # fmt: skip
    cameras = orbit([0, 90, 180, 270], 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    cameras = replace(cameras, c2w=cameras.c2w.expand(2, -1, -1, -1))
    both = Gaussians(*(getattr(model, f).expand(2, *[-1] * getattr(model, f).dim()) for f in vars(model)))
    return rasterise(both, cameras), cameras


def noisy(generator: Wonder3D) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    z = torch.randn((2, *generator.latent_shape(4)), generator=draw)
    return z, torch.tensor([700, 300]), torch.rand(2, 3, SIZE_PX, SIZE_PX, generator=draw)


def test_settings_say_that_it_takes_maps_and_what_is_trained() -> None:
    assert takes_maps("wonder3d_maps") and trained_part("wonder3d_maps") == "maps"
    assert trained_part("wonder3d") == trained_part("ouroboros3d") == "unet"


def test_without_a_3d_model_it_is_wonder3d_to_the_bit() -> None:
    told, (_, cameras) = built(), ball()
    own, (z, t, image) = plain(told), noisy(told)
    a, b = (g.predict(z, t, g.encode_condition(image, cameras.c2w), 2.0) for g in (told, own))
    assert torch.equal(a.x0, b.x0)
    assert told.unet.state_dict().keys() == own.unet.state_dict().keys()


def test_a_map_changes_both_branches_of_the_object_that_has_one() -> None:
    generator, (drawn, cameras) = built(), ball()
    z, t, image = noisy(generator)
    without = generator.encode_condition(image, cameras.c2w)
    shown = generator.with_maps(without, drawn, cameras)
    first = replace(shown, shown=torch.tensor([1.0, 0.0]))
    before, after = (generator.branches(z, t, condition) for condition in (without, first))
    for a, b in zip(before, after, strict=True):
        assert float((a[0] - b[0]).abs().max()) > 1e-3
        torch.testing.assert_close(a[1], b[1])
    assert torch.equal(generator.unconditional(shown).maps, shown.maps)
    assert not generator.unconditional(shown).latents.any()


def test_before_training_a_map_says_nothing() -> None:
    torch.manual_seed(0)
    generator = MapsWonder3D(Settings.model_validate(PRESETS["tiny"]), SIZE_PX).eval()
    (drawn, cameras), (z, t, image) = ball(), noisy(generator)
    without = generator.encode_condition(image, cameras.c2w)
    with torch.no_grad():
        a, b = (
            generator.raw_prediction(z, t, c) for c in (without, generator.with_maps(without, drawn, cameras))
        )
    assert torch.equal(a, b)


def test_a_map_holds_latents_of_the_colours_and_positions_of_the_surface() -> None:
    generator, (drawn, cameras) = built(), ball()
    condition = generator.encode_condition(noisy(generator)[2], cameras.c2w)
    found = generator.with_maps(condition, drawn, cameras)
    side, channels = generator.latent_shape(4)[-1], generator.latent_channels
    assert found.maps.shape == condition.maps.shape == (2, 4, channels + 3, side, side)
    assert found.shown.tolist() == [1, 1] and condition.shown.tolist() == [0, 0]
    with torch.no_grad():
        latents = generator.encode(drawn.rgb.clamp(0, 1))
    torch.testing.assert_close(found.maps[:, :, :channels], latents)
    positions, wide = 2 * found.maps[:, :, channels:] - 1, SIZE_PX // side
    alpha = drawn.alpha.flatten(0, 1)
    opaque = (-torch.nn.functional.max_pool2d(-alpha, wide) > 0.99).unflatten(0, (2, 4))[:, :, 0]
    empty = (torch.nn.functional.max_pool2d(alpha, wide) == 0).unflatten(0, (2, 4))[:, :, 0]
    assert int(opaque.sum()) >= 8 and int(empty.sum()) >= 8
    # Gaussians reach over a pixel or two, each 0.07 wide
    assert float((positions.norm(dim=2)[opaque] - RADIUS).abs().max()) < 0.1
    assert not positions.movedim(2, -1)[empty].any()
    towards = cameras.positions / cameras.positions.norm(dim=-1, keepdim=True)
    nearest = positions.movedim(2, -1)[opaque].unflatten(0, (2, 4, -1)).mean(2)
    assert float((nearest / nearest.norm(dim=-1, keepdim=True) * towards).sum(-1).min()) > 0.95


def test_its_views_may_be_smaller_than_renderings() -> None:
    generator, (drawn, cameras) = built(), ball()
    small = MapsWonder3D(Settings.model_validate({**PRESETS["tiny"], "size_px": 16}), SIZE_PX)
    condition = small.encode_condition(noisy(generator)[2], cameras.c2w)
    maps, large = (g.with_maps(condition, drawn, cameras).maps[:, :, -3:] for g in (small, generator))
    side = small.latent_shape(4)[-1]
    assert small.size_px == 16 and maps.shape[-1] == side
    halved = torch.nn.functional.interpolate(large.flatten(0, 1), (side, side), mode="area")
    assert float((maps.flatten(0, 1) - halved).abs().mean()) < 0.02


@pytest.mark.parametrize("channels", [8, 24])
def test_the_reader_is_as_wide_as_its_settings_say(channels: int) -> None:
    generator = MapsWonder3D(Settings.model_validate({**PRESETS["tiny"], "maps_hidden": channels}), SIZE_PX)
    assert generator.maps.conv_in.out_channels == channels
