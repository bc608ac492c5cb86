"""The discriminator: frozen encoder, own step, shared augmentation, losses with the right sign."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_world import moved_by
from torch import Tensor

from aligncvc.align.discriminator import (
    Augmentation,
    Discriminator,
    discriminator_loss,
    generator_loss,
    multilevel_bce,
)
from aligncvc.models.encoders.lite0 import load_lite0
from aligncvc.streams import torch_stream

SHAPE = (2, 2, 3, 32, 32)


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    return load_lite0()


@pytest.fixture
def discriminator(encoder: torch.nn.Module) -> Discriminator:
    return Discriminator(encoder, hidden=8, seed=0, input_px=64)


def images(name: str) -> Tensor:
    return torch.rand(SHAPE, generator=torch_stream(0, name))


def draw(name: str = "a", each: int = 4) -> Augmentation:
    return Augmentation.draw([torch_stream(0, name)], each)


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def test_logits_come_from_every_level(discriminator: Discriminator) -> None:
    logits = discriminator(images("x").flatten(0, 1))
    assert [tuple(x.shape) for x in logits] == [(4, 1, s, s) for s in (32, 16, 8, 4, 2)]


def test_same_seed_same_heads_and_global_generator_untouched(encoder: torch.nn.Module) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b = (Discriminator(encoder, 8, seed=3, input_px=64) for _ in range(2))
    c = Discriminator(encoder, 8, seed=4, input_px=64)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )
    assert any(not torch.equal(x, y) for x, y in zip(a.heads.parameters(), c.heads.parameters(), strict=True))


def test_generator_loss_reaches_the_images_and_leaves_the_discriminator_alone(
    discriminator: Discriminator,
) -> None:
    before = state(discriminator)
    fakes = images("fake").requires_grad_(True)
    generator_loss(discriminator, fakes, 0.8, draw()).backward()
    assert fakes.grad is not None and float(fakes.grad.abs().sum()) > 0
    assert all(p.grad is None for p in discriminator.parameters())
    assert all(p.requires_grad for p in discriminator.heads.parameters())
    assert all(torch.equal(v, before[k]) for k, v in discriminator.state_dict().items())


def test_discriminator_loss_stops_at_the_images_and_at_the_encoder(discriminator: Discriminator) -> None:
    fakes, reals = images("fake").requires_grad_(True), images("real").requires_grad_(True)
    discriminator_loss(discriminator, reals, fakes, 0.8, draw()).loss.backward()
    assert fakes.grad is None and reals.grad is None
    assert all(p.grad is None for p in discriminator.encoder.parameters())
    assert all(
        p.grad is not None and float(p.grad.abs().sum()) > 0
        for n, p in discriminator.heads.named_parameters()
        if "bias" not in n
    )


def test_discriminator_learns_and_the_generator_follows(discriminator: Discriminator) -> None:
    """Dark reals, bright fakes: descending the generator's loss darkens them."""
    reals, fakes = images("real") * 0.3, images("fake") * 0.3 + 0.7
    optimiser = torch.optim.Adam(discriminator.heads.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = discriminator_loss(discriminator, reals, fakes, 0.8, None).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    good, bad = (float(generator_loss(discriminator, x, 0.8, None)) for x in (reals, fakes))
    assert good < bad
    moving = moved_by(discriminator, fakes)
    assert float(generator_loss(discriminator, moving, 0.8, None)) < bad
    assert float(moving.mean()) < float(fakes.mean())


GIVEN = SHAPE[0], *SHAPE[2:]


def beside(encoder: torch.nn.Module, all_views: bool, sees_input: bool) -> Discriminator:
    together = SHAPE[1] if all_views else 1
    return Discriminator(encoder, 8, seed=0, input_px=64, together=together, sees_input=sees_input)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("all_views", "sees_input", "examples", "wider"),
    [(True, False, 2, 2), (False, True, 4, 2), (True, True, 2, 3)],
)
def test_heads_may_judge_views_together_and_beside_the_input(
    encoder: torch.nn.Module, all_views: bool, sees_input: bool, examples: int, wider: int
) -> None:
    discriminator = beside(encoder, all_views, sees_input)
    features = discriminator.features(images("x").flatten(0, 1))
    given = torch.rand(GIVEN, generator=torch_stream(0, "given"))
    rows = discriminator.examples(features, given, SHAPE[1])
    assert [x.shape[:2] for x in rows] == [(examples, wider * f.shape[1]) for f in features]
    second = features[0].shape[1]
    if all_views:  # the second object's views, one after the other
        assert torch.equal(rows[0][1, second : 2 * second], features[0][3])
    if sees_input:
        seen = discriminator.features(given)[0]
        assert torch.equal(rows[0][-1, -second:], seen[1]) and torch.equal(rows[0][0, -second:], seen[0])
        both = discriminator.examples([torch.cat([f, f]) for f in features], given, SHAPE[1])
        assert torch.equal(both[0][:examples], both[0][examples:]), "reals, then fakes of the same objects"
    assert [len(x) for x in discriminator.logits(rows)] == [examples] * len(features)


def test_a_discriminator_of_all_views_tells_that_two_views_do_not_belong_together(
    encoder: torch.nn.Module,
) -> None:
    """Reals: both views dark or both bright. Fakes: one of each, so no single view tells them apart."""
    dark, bright = images("dark") * 0.3, images("bright") * 0.3 + 0.7
    reals = torch.cat([dark[:1], bright[:1]])
    fakes = torch.stack([torch.stack([dark[0, 0], bright[0, 1]]), torch.stack([bright[0, 0], dark[0, 1]])])
    gaps = {}
    for all_views in (False, True):
        discriminator = beside(encoder, all_views, False)
        optimiser = torch.optim.Adam(discriminator.heads.parameters(), lr=5e-3)
        for _ in range(40):
            found = discriminator_loss(discriminator, reals, fakes, 0.8, None)
            optimiser.zero_grad()
            found.loss.backward()
            optimiser.step()
        gaps[all_views] = found.real - found.fake
    assert gaps[True] > gaps[False] + 0.2


def test_the_input_reaches_the_loss_and_gets_no_gradient(encoder: torch.nn.Module) -> None:
    discriminator, fakes = beside(encoder, False, True), images("fake").requires_grad_(True)
    one, other = torch.zeros(GIVEN).requires_grad_(True), torch.rand(GIVEN)
    loss, beside_other = (generator_loss(discriminator, fakes, 0.8, draw(), given=x) for x in (one, other))
    assert float(loss.detach()) != float(beside_other.detach())
    loss.backward()
    assert fakes.grad is not None and float(fakes.grad.abs().sum()) > 0
    heads = discriminator_loss(discriminator, images("real"), fakes, 0.8, draw(), 0.1, given=other)
    heads.loss.backward()
    assert all(p.grad is not None for p in discriminator.heads.parameters())


def test_images_of_one_object_may_be_augmented_alike() -> None:
    augmentation = Augmentation.draw([torch_stream(0, "p"), torch_stream(0, "q")], 2, alike=True)
    assert augmentation.shift[0].tolist() == augmentation.shift[1].tolist() != augmentation.shift[2].tolist()
    assert augmentation.first(2).brightness.tolist() == augmentation.brightness[[0, 2]].tolist()


def test_smoothed_label_has_its_optimum_at_the_target() -> None:
    logit = torch.logit(torch.tensor(0.8)).requires_grad_(True)
    multilevel_bce([logit.view(1, 1, 1, 1), logit.view(1, 1, 1, 1)], 0.8).backward()
    assert logit.grad is not None and abs(float(logit.grad)) < 1e-6
    low = torch.tensor([[[[0.0]]]])
    assert float(multilevel_bce([low], 0.8)) == pytest.approx(0.6931, abs=1e-4)
    assert float(multilevel_bce([low, low], 0.8)) == pytest.approx(2 * 0.6931, abs=1e-4)


def test_augmentation_is_shared_differentiable_and_batch_independent() -> None:
    x = images("x").flatten(0, 1).requires_grad_(True)
    augmentation = draw()
    assert torch.equal(augmentation(x), augmentation(x))
    assert not torch.equal(augmentation(x), draw("b")(x))
    augmentation(x).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    two = Augmentation.draw([torch_stream(0, "p"), torch_stream(0, "q")], 2)(x)
    one = Augmentation.draw([torch_stream(0, "q")], 2)(x[2:])
    torch.testing.assert_close(two[2:], one)


def test_augmentation_translates_with_white_and_cuts_a_hole() -> None:
    zero = torch.zeros(1)
    still = Augmentation(zero, zero + 1, zero + 1, torch.tensor([[0.125, 0.0]]), torch.tensor([[0.99, 0.99]]))
    image = torch.zeros(1, 3, 32, 32)
    image[..., 0, :] = 0.3
    out = still(image)
    assert torch.equal(out[..., :4, :24], torch.ones(1, 3, 4, 24))  # white entered from the top
    torch.testing.assert_close(out[..., 4, :24], torch.full((1, 3, 24), 0.3))  # the first row moved down by 4
    assert torch.equal(out[..., 24:, 24:], torch.full((1, 3, 8, 8), 0.5))
