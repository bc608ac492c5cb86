"""GeoLRM beside its official numbers: geometry, deformable sampling, tokens, batches, training."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aligncvc.models.kinds import complete
from aligncvc.models.ledger.weights import load_strict
from aligncvc.models.reconstructors.base import checkpoint_gradients
from aligncvc.models.reconstructors.geolrm.attention import sample, turn
from aligncvc.models.reconstructors.geolrm.frames import project, rays, to_frame
from aligncvc.models.reconstructors.geolrm.heads import GaussianHead, spread, together
from aligncvc.models.reconstructors.geolrm.network import GeoLRM, build, released
from aligncvc.models.reconstructors.geolrm.occupancy import Proposal
from aligncvc.models.reconstructors.geolrm.settings import Settings
from aligncvc.scene.cameras import Cameras, orbit, ring_azimuths_deg
from aligncvc.scene.gaussians import Gaussians
from aligncvc.splat import rasterise

SIZE_PX = 32


def settings(**changes: Any) -> Settings:
    _, network = complete("reconstructors", {"kind": "geolrm", "preset": "tiny", **changes}, "the test")
    return Settings.model_validate(network)


def tiny(**changes: Any) -> GeoLRM:
    torch.manual_seed(0)
    return GeoLRM(settings(**changes)).eval()


def rig(batch: int = 1, views: int = 4, distance: float = 3.0, fov_y_deg: float = 39.6) -> Cameras:
    one = orbit(ring_azimuths_deg(views), 15, distance=distance, fov_y_deg=fov_y_deg, size_px=SIZE_PX)
    return replace(one, c2w=one.c2w.expand(batch, -1, -1, -1))


def pictures(batch: int = 1, views: int = 4, side: int = SIZE_PX) -> Tensor:
    return torch.rand(batch, views, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("radius", [None, 1.5, 2.2])
@pytest.mark.parametrize("distance", [2.4, 3.0])
def test_a_token_falls_where_our_cameras_see_its_point(radius: float | None, distance: float) -> None:
    """There: into the networks' world and onto the views. Back: a Gaussian at the token, drawn by ours."""
    cameras = rig(views=5, distance=distance)
    frame = to_frame(cameras, radius)
    wanted = distance / 2 if radius is None else radius
    torch.testing.assert_close(frame.cameras.positions.norm(dim=-1), torch.full((1, 5), wanted))
    token = torch.tensor([[[0.11, -0.17, 0.08]]])
    uv = project(frame.cameras, token)
    back = frame.back(
        Gaussians(
            means=token,
            scales=torch.full((1, 1, 3), 0.01),
            quats=torch.tensor([[[1.0, 0, 0, 0]]]),
            opacities=torch.ones(1, 1),
            colors=torch.zeros(1, 1, 3),
        )
    )
    local = (
        torch.einsum("bvij,bnj->bvni", cameras.w2c[..., :3, :3], back.means) + cameras.w2c[..., None, :3, 3]
    )
    pixels = cameras.focal_px * local[..., :2] / local[..., 2:] + SIZE_PX / 2
    torch.testing.assert_close(uv * SIZE_PX, pixels, atol=1e-3, rtol=0)
    drawn = rasterise(back, cameras).alpha[0, :, 0]
    grid = torch.arange(SIZE_PX) + 0.5
    mass = drawn.sum((-1, -2))
    seen = torch.stack([(drawn.sum(-2) * grid).sum(-1) / mass, (drawn.sum(-1) * grid).sum(-1) / mass], -1)
    torch.testing.assert_close(seen, pixels[0, :, 0], atol=0.2, rtol=0)


def test_rays_meet_the_points_that_are_seen_through_their_pixels() -> None:
    frame = to_frame(rig(distance=2.7), 1.5)
    directions, moments = rays(frame.cameras).split(3, 2)
    forward = frame.cameras.c2w[..., :3, 2, None, None]
    torch.testing.assert_close((directions * forward).sum(2), torch.ones(1, 4, SIZE_PX, SIZE_PX))
    origins = frame.cameras.positions[..., None, None]
    torch.testing.assert_close(moments, torch.cross(origins.expand_as(directions), directions, dim=2))
    row, column = 7, 21
    point = (origins + 1.3 * directions)[0, 2, :, row, column]
    at = project(frame.cameras, point[None, None])[0, 2, 0] * SIZE_PX
    torch.testing.assert_close(at, torch.tensor([column + 0.5, row + 0.5]), atol=1e-3, rtol=0)


def test_sampling_is_grid_samples_with_its_gradients() -> None:
    shapes = [(6, 5), (3, 4)]
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    values = draw(sum(h * w for h, w in shapes), 2, 3).requires_grad_(True)
    at = (1.6 * draw(9, 2, 2, 4, 2) - 0.3).requires_grad_(True)  # a part of them outside
    weights = draw(9, 2, 2, 4).requires_grad_(True)
    parts = []
    for level, own in enumerate(values.split([h * w for h, w in shapes])):
        height, width = shapes[level]
        plane = own.permute(1, 2, 0).unflatten(-1, (height, width))
        grid = (2 * at[:, :, level] - 1).transpose(0, 1)
        read = F.grid_sample(plane, grid, padding_mode="zeros", align_corners=False)  # (heads, D, S, P)
        parts.append((read * weights[:, :, level].transpose(0, 1)[:, None]).sum(-1).permute(2, 0, 1))
    expected = (parts[0] + parts[1]).flatten(1)
    found = sample(values, shapes, at, weights)
    torch.testing.assert_close(found, expected)
    inputs = (values, at, weights)
    for own, wanted in zip(
        *(torch.autograd.grad(x.square().sum(), inputs) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(own, wanted)
    far = torch.full_like(at, 1e30)
    assert not sample(values, shapes, far, weights).any()


def test_turned_tokens_know_their_distance_only() -> None:
    q, k = torch.randn(2, 1, 1, 2, 24).unbind(0)
    here, there, shift = (
        torch.tensor([[[3, 5, 90]]]),
        torch.tensor([[[10, 5, 70]]]),
        torch.tensor([7, 20, 11]),
    )
    product = (turn(q, here) * turn(k, there)).sum(-1)
    torch.testing.assert_close((turn(q, here + shift) * turn(k, there + shift)).sum(-1), product)
    for axis in range(3):  # each third turns with an axis of its own
        moved = (turn(q, torch.eye(3, dtype=torch.long)[axis][None, None]) != q).unflatten(-1, (3, 8))
        assert moved.any(-1).tolist() == [[[[i == axis for i in range(3)]] * 2]]


@pytest.mark.parametrize("count", [1, 4, 8, 32])
def test_points_of_a_cube_keep_apart(count: int) -> None:
    points = spread(count)
    assert points.shape == (count, 3) and points.min() >= 0 and points.max() < 1
    apart = torch.pdist(points)
    assert not len(apart) or apart.min() > 0.45 / count ** (1 / 3)


@pytest.mark.parametrize("offsets", ["positive", "around"])
def test_gaussians_of_a_token_start_apart_and_where_they_may(offsets: str) -> None:
    config = settings(offsets=offsets, offset_max=0.1, gaussians_per_token=8)
    torch.manual_seed(0)
    head, token = GaussianHead(config), torch.tensor([[[0.2, -0.1, 0.3]]])
    with torch.no_grad():
        means = head(token, 0.1 * torch.randn(1, 1, config.reconstruction.dim)).means[0] - token[0]
        assert torch.pdist(means).min() > 0.02
        head.latent_decoder[-1].bias.fill_(-50.0)
        lowest = head(token, torch.zeros(1, 1, config.reconstruction.dim)).means - token
    edge = -0.1 if offsets == "around" else 0.0
    torch.testing.assert_close(lowest, torch.full_like(lowest, edge), atol=1e-6, rtol=0)


def logits_of(*occupied: tuple[int, int, int]) -> Tensor:
    logits = -1 - torch.arange(512.0).view(8, 8, 8) / 512
    for rank, voxel in enumerate(occupied):
        logits[voxel] = 1 + rank
    return logits


def test_tokens_are_the_occupied_voxels_in_order() -> None:
    tokens = Proposal(settings()).tokens(logits_of((7, 0, 3), (0, 0, 1), (2, 4, 0)))
    voxels = ((tokens + 0.5) * 7).round().int().tolist()
    assert voxels == [[0, 0, 1], [2, 4, 0], [7, 0, 3]]


def test_too_many_tokens_leave_the_likeliest_and_none_the_least_unlikely() -> None:
    proposal = Proposal(settings(max_tokens=2))
    tokens = proposal.tokens(logits_of((7, 0, 3), (0, 0, 1), (2, 4, 0)))
    assert ((tokens + 0.5) * 7).round().int().tolist() == [[0, 0, 1], [2, 4, 0]]
    assert ((proposal.tokens(logits_of()) + 0.5) * 7).round().int().tolist() == [[0, 0, 0], [0, 0, 1]]


def test_the_official_choice_is_random_by_the_seed_and_padded() -> None:
    occupied = [(i, i, 0) for i in range(8)]
    chosen = [
        Proposal(settings(max_tokens=5, tokens="shuffled", seed=seed)).tokens(logits_of(*occupied))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])
    assert len(chosen[0].unique(dim=0)) == 5 and torch.equal(chosen[0][:, 0], chosen[0][:, 1])
    padded = Proposal(settings(max_tokens=12, pad_tokens=True)).tokens(logits_of(*occupied))
    assert len(padded) == 12 and not padded[8:].any() and bool(padded[:8].any(-1).all())


def test_padding_is_invisible_and_has_no_gradient() -> None:
    model, cameras = tiny(), rig(2)
    images = pictures(2).requires_grad_(True)
    pixels, frame = (images - model.mean) / model.std, to_frame(cameras, None)
    few, many = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    both = model.lrm_generator(pixels, frame.cameras, [few[:6], many])
    single = model.lrm_generator(pixels[:1], replace(frame.cameras, c2w=frame.cameras.c2w[:1]), [few[:6]])
    assert len(both) == 80 and len(single) == 24 and not both.opacities[0, 24:].any()
    for field in fields(Gaussians):
        torch.testing.assert_close(getattr(both, field.name)[0, :24], getattr(single, field.name)[0])
    pictured = [rasterise(frame.back(g)[:1], rig()).rgb for g in (both, single)]
    torch.testing.assert_close(*pictured)
    rasterise(frame.back(both), cameras).rgb.square().mean().backward()
    gradients = [p.grad for p in model.lrm_generator.parameters() if p.grad is not None]
    assert gradients and all(bool(g.isfinite().all()) for g in [*gradients, images.grad])
    assert together([single])[0].means.equal(single.means[0])


@pytest.mark.parametrize(("views", "side"), [(1, 24), (4, 32), (7, 50)])
def test_views_come_in_any_number_and_size(views: int, side: int) -> None:
    model = tiny()
    found = model(pictures(1, views, side), rig(views=views).resized(side, side))
    assert found.means.shape[0] == 1 and 0 < len(found) <= 48 * 4
    assert float(found.means.detach().abs().max()) <= (0.5 + 0.15) / 0.5


def test_views_are_a_set() -> None:
    """Behind the first, which the frame is measured at, the order does not matter."""
    model, images, cameras, order = tiny(), pictures(), rig(), [0, 3, 1, 2]
    torch.testing.assert_close(
        model(images[:, order], cameras[order]).means, model(images, cameras).means, atol=1e-5, rtol=1e-4
    )


def test_the_proposal_is_trained_by_its_logits_only() -> None:
    model, images = tiny(), pictures()
    model(images, rig()).means.square().mean().backward()
    assert all(p.grad is None for p in model.serializer.parameters())
    logits, coordinates = model.occupancy(images, rig())
    assert logits.shape == (1, 8, 8, 8)
    torch.testing.assert_close(coordinates[0, [0, -1]], torch.tensor([-1.0, 1.0]))
    optimiser = torch.optim.Adam(model.serializer.parameters(), lr=3e-3)
    wanted = (coordinates[0].abs() < 0.6).float()
    wanted = wanted[:, None, None] * wanted[:, None] * wanted
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model.occupancy(images, rig())[0][0], wanted)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_what_is_computed_again_yields_the_same_gradients() -> None:
    """DINOv2's layers too: transformers lets them recompute in training mode only."""
    gradients = []
    for again in (False, True):
        model = tiny()
        if again:
            checkpoint_gradients(model)
        model(pictures(), rig()).colors.square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert any("encoder.model.encoder.layer.0" in name for name in gradients[1])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_mixed_precision_keeps_the_geometry() -> None:
    model, images, cameras = tiny(), pictures(), rig()
    tokens = [torch.rand(20, 3, generator=torch.Generator().manual_seed(2)) - 0.5]
    pixels, frame = (images - model.mean) / model.std, to_frame(cameras, None)
    exact = model.lrm_generator(pixels, frame.cameras, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.lrm_generator(pixels, frame.cameras, tokens)
    assert rounded.means.dtype == torch.float32
    torch.testing.assert_close(rounded.means, exact.means, atol=0.01, rtol=0)


def test_a_release_loads_strictly_and_its_losses_are_left_out() -> None:
    model, other = tiny(), build(settings(seed=5).model_dump())
    state = {}
    for key, value in model.state_dict().items():
        for new, old in (("q_proj", "attention.query"), ("k_proj", "attention.key"),
                         ("v_proj", "attention.value"), ("o_proj", "output.dense")):  # fmt: skip
            key = key.replace(f"attention.{new}.", f"attention.{old}.")
        state[key] = value
    assert "serializer.encoder.model.encoder.layer.1.attention.output.dense.bias" in state
    load_strict(other, released({**state, "lpips.net.lin0.model.1.weight": torch.zeros(1)}))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())


def test_settings_that_cannot_be_built_are_refused() -> None:
    for wrong in ({"proposal": {"dim": 32}}, {"size_px": 36}, {"grid": 9}):
        with pytest.raises(ValueError, match="must be a multiple of"):
            Settings.model_validate(wrong)
