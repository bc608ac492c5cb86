"""Ouroboros3D beside its network: condition, maps of a 3D model, guidance, forms without quirks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
    _resize_with_antialiasing,
)
from torch import Tensor

from aligncvc.errors import UserError
from aligncvc.models.generators.ouroboros3d.maps import coordinate_maps
from aligncvc.models.generators.ouroboros3d.network import Condition, Ouroboros3D
from aligncvc.models.generators.ouroboros3d.rays import harmonics, plucker
from aligncvc.models.generators.ouroboros3d.settings import PRESETS, Settings
from aligncvc.models.kinds import takes_maps
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.pair import build_generator
from aligncvc.models.specs import CheckpointAccess, ModelSpec
from aligncvc.scene.camera_formats import to_first_camera
from aligncvc.scene.cameras import Cameras, orbit
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import Rendering, rasterise

SIZE_PX, FOV = 32, 39.597752
AZIMUTHS = [0, 90, 180, 337.5]


def built(**changes: Any) -> Ouroboros3D:
    """The tiny preset, with branches that start at zero filled."""
    torch.manual_seed(0)
    generator = Ouroboros3D(Settings.model_validate({**PRESETS["tiny"], **changes}), SIZE_PX).eval()
    for name, parameter in generator.unet.named_parameters():
        if "block2" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return generator.requires_grad_(False)


def cameras(distance: float = 3.0, elevation: float = 0.0, size_px: int = SIZE_PX) -> Cameras:
    ring = orbit(AZIMUTHS, elevation, distance=distance, fov_y_deg=FOV, size_px=size_px)
    return replace(ring, c2w=ring.c2w[None])


def image() -> Tensor:
    return torch.rand(1, 3, 2 * SIZE_PX, 2 * SIZE_PX, generator=torch.Generator().manual_seed(3))


def ball(distance: float = 3.0) -> tuple[Rendering, Cameras]:
    """Opaque Gaussians on a sphere of radius 0.4, drawn."""
    points = torch.nn.functional.normalize(
        torch.randn(4000, 3, generator=torch.Generator().manual_seed(4)), dim=-1
    )
    count = len(points)
    model = Gaussians(
        means=0.4 * points, scales=torch.full((count, 3), 0.02),
        quats=torch.tensor([1.0, 0, 0, 0]).expand(count, 4), opacities=torch.full((count,), 0.99),
        colors=points / 2 + 0.5,
    )  # fmt: skip
    one = cameras(distance)
    return rasterise(Gaussians(*(getattr(model, f)[None] for f in vars(model))), one), one


def test_settings_say_that_it_takes_maps() -> None:
    assert takes_maps("ouroboros3d") and not takes_maps("wonder3d")


def test_noise_is_on_the_latents_only_and_always_the_same() -> None:
    noisy, clean = built(), built(condition_noise=False)
    clean.load_state_dict(noisy.state_dict())
    found, again, without = (g.encode_condition(image(), cameras().c2w) for g in (noisy, noisy, clean))
    assert all(torch.equal(value, vars(again)[name]) for name, value in vars(found).items())
    assert torch.equal(found.tokens, without.tokens)
    small = torch.nn.functional.interpolate(image(), (SIZE_PX, SIZE_PX), mode="area")
    pixels = 2 * noisy._noise(small)
    assert float(pixels.std()) == pytest.approx(0.02, rel=0.05)
    expected = noisy.vae.encode(2 * small - 1 + pixels).latent_dist.mode()
    torch.testing.assert_close(found.latents, expected)
    assert (found.latents - without.latents).abs().max() > 1e-5


def test_the_token_is_svds() -> None:
    """CLIP sees the clean image at diffusers' antialiased size."""
    generator = built(size_px=2 * SIZE_PX)
    found = generator.encode_condition(image(), cameras().c2w).tokens
    encoder = generator.image_encoder
    pixels = _resize_with_antialiasing(image() * 2 - 1, (SIZE_PX, SIZE_PX)) / 2 + 0.5
    expected = encoder.tower(pixel_values=(pixels - encoder.mean) / encoder.std).image_embeds
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_it_starts_without_maps_and_then_sees_what_was_drawn() -> None:
    generator = built()
    generator.unet.enable_gradient_checkpointing()  # the test has no gradient: as without
    start = generator.encode_condition(image(), cameras().c2w)
    assert not start.renderings.any() and not start.coordinates.any()
    seen = generator.with_maps(start, *ball())
    assert seen.renderings.shape == seen.coordinates.shape == (1, len(AZIMUTHS), 3, SIZE_PX, SIZE_PX)
    assert float(seen.coordinates.min()) >= 0 and float(seen.coordinates.max()) <= 1
    assert torch.equal(seen.tokens, start.tokens) and torch.equal(seen.c2w, start.c2w)
    z, t = torch.randn(1, *generator.latent_shape(len(AZIMUTHS))), torch.tensor([0.3])
    blank = replace(seen, coordinates=torch.zeros_like(seen.coordinates))
    outputs = [generator.raw_prediction(z, t, c) for c in (start, blank, seen)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4 and (outputs[1] - outputs[2]).abs().max() > 1e-4
    free = generator.unconditional(seen)
    assert not free.tokens.any() and not free.latents.any()
    assert torch.equal(free.renderings, seen.renderings) and torch.equal(free.c2w, seen.c2w)


@pytest.mark.parametrize("form", ["released", "true"])
def test_maps_do_not_depend_on_our_scale(form: str) -> None:
    """A scene twice as large from twice as far away: the input camera's distance is the trained radius."""
    generator = built(coordinates=form)
    start = generator.encode_condition(image(), cameras().c2w)
    drawn, near = ball()
    far = replace(near, c2w=cameras(6.0).c2w)
    one = generator.with_maps(start, drawn, near)
    other = generator.with_maps(start, replace(drawn, depth=2 * drawn.depth), far)
    torch.testing.assert_close(one.coordinates, other.coordinates, rtol=1e-5, atol=1e-5)
    assert one.coordinates.std() > 0.004


def test_true_maps_are_where_the_pixels_lie() -> None:
    drawn, near = ball(1.7416968)
    c2w = to_first_camera(near.c2w, 1.7416968)
    found = coordinate_maps(drawn.depth, drawn.alpha, c2w, near.focal_px / near.height, "true")
    inside = drawn.alpha[:, :, 0] > 0.99
    radii = (2 * found - 1).norm(dim=2)[inside]
    assert inside.float().mean() > 0.05 and float((radii - 0.4).abs().median()) < 0.03
    assert bool((found.movedim(2, -1)[drawn.depth[:, :, 0] == 0] == 0.5).all())
    # the front of the input view is +z, its right +x, up +y, in the middle of the image
    middle = SIZE_PX // 2
    front = 2 * found[0, :, :, middle, middle] - 1
    assert front[0, 2] > 0.35 and front[1, 0] > 0.35 and front[2, 2] < -0.35


@pytest.mark.parametrize("elevation", [0.0, 25.0])
def test_true_rays_meet_the_points_that_pixels_show(elevation: float) -> None:
    one = cameras(elevation=elevation)
    c2w, side, focal = to_first_camera(one.c2w, 1.7416968), 8, 0.5 / 0.36
    moment, direction = plucker(c2w, focal, side, "true").split(3, -1)
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(1, len(AZIMUTHS), side, side))
    ahead = direction[:, :, side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1].mean((2, 3))
    centre = c2w[..., :3, 3]
    torch.testing.assert_close(
        torch.nn.functional.normalize(ahead, dim=-1), -centre / centre.norm(dim=-1, keepdim=True),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    origin = centre[:, :, None, None].expand_as(direction)
    torch.testing.assert_close(moment, torch.linalg.cross(origin, direction))
    wrong = plucker(c2w, focal, side, "released")[..., 3:]
    assert (wrong - direction).abs().max() > 0.3, "the released rays are others"


def test_harmonics_are_sines_then_cosines_then_the_numbers() -> None:
    x = torch.tensor([[0.1, 0.2]])
    found = harmonics(x)
    assert found.shape == (1, 26)
    torch.testing.assert_close(found[0, :3], torch.tensor([0.1, 0.2, 0.4]).sin())
    torch.testing.assert_close(found[0, 6], torch.tensor(0.2).sin())
    torch.testing.assert_close(found[0, 12:14], torch.tensor([0.1, 0.2]).cos())
    torch.testing.assert_close(found[0, -2:], x[0])


def test_guidance_grows_over_the_views() -> None:
    generator = built()
    free, told = torch.zeros(2, 4, 1, 1, 1), torch.ones(2, 4, 1, 1, 1)
    expected = torch.tensor([1, 5 / 3, 7 / 3, 3])
    torch.testing.assert_close(generator.guide(free, told, 3.0)[1].flatten(), expected)
    torch.testing.assert_close(generator.guide(free, told, expected)[0].flatten(), expected)
    assert bool((generator.guide(free, told, 0.5) == 0.5).all())


def test_rays_reach_skips_without_changing_anything_in_place() -> None:
    """The release adds rays in place; here nothing is, so what was given stays as it was."""
    found = {}
    for skips in (True, False):
        generator = built(ray_skips=skips)
        z = torch.randn(1, *generator.latent_shape(2), generator=torch.Generator().manual_seed(1))
        condition = generator.encode_condition(image(), cameras().c2w[:, :2])
        kept = z.clone()
        found[skips] = generator.raw_prediction(z, torch.tensor([0.1]), condition)
        assert torch.equal(z, kept)
    assert (found[True] - found[False]).abs().max() > 1e-3


def test_views_see_each_other_in_the_video_decoder_and_objects_do_not() -> None:
    vae = {"channels": [32, 32, 32], "video_decoder": True}
    generator = built(vae=vae)
    latents = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    changed = latents.clone()
    changed[0, 1] += 1
    before, after = generator.decode(latents), generator.decode(changed)
    assert before.shape == (2, 3, 3, SIZE_PX, SIZE_PX)
    assert (before[0, 0] - after[0, 0]).abs().max() > 1e-6
    torch.testing.assert_close(before[1], after[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generator.decode(latents[1:])[0], before[1], rtol=1e-4, atol=1e-5)
    own = generator.vae.decode(latents[0] / generator.scaling_factor, num_frames=3).sample / 2 + 0.5
    torch.testing.assert_close(before[0], own, rtol=1e-4, atol=1e-5)
    assert generator.encode(before).shape == latents.shape


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UserError, match="choose a multiple of 8"):
        Ouroboros3D(Settings.model_validate(PRESETS["tiny"]), 36)


def test_the_demo_size_uses_the_demos_token() -> None:
    generator = build_generator(ModelSpec(kind="ouroboros3d", network=Settings().model_dump()), 64)
    assert isinstance(generator, Ouroboros3D)
    condition = generator.encode_condition(image(), cameras().c2w)
    assert isinstance(condition, Condition) and condition.tokens.shape == (1, 1, 1280)
    assert set(generator.parts()) == {"unet", "vae"}
    assert sum(p.numel() for p in generator.unet.parameters()) < 10e6


def test_the_ledgers_model_is_the_released_preset() -> None:
    access = CheckpointAccess()
    model = load_ledger(access.ledger).model("ouroboros3d", "generators")
    assert model.network == {"kind": "ouroboros3d", "preset": "released"}
    assert set(model.weights) == {"unet", "vae", "image_encoder"}
