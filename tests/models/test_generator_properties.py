"""What holds for every kind of generator, at its tiny size: a new folder in models/generators is found."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_networks import GENERATORS, SIZE_PX, tiny_generator
from torch import Tensor, nn

from aligncvc.align.fake_score import FakeScore, attach_fake
from aligncvc.config.jobs.align import Asd, Fake
from aligncvc.loop.cost import counted_calls
from aligncvc.models.generators.base import MultiViewGenerator, Tree, over_tree
from aligncvc.models.generators.schedules import Time
from aligncvc.models.pair import attach_lora
from aligncvc.scene.cameras import orbit, ring_azimuths_deg

VIEWS = 4


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> MultiViewGenerator:
    generator = tiny_generator(request.param)
    for name, parameter in generator.denoiser.named_parameters():  # what starts at zero must count too
        if float(parameter.detach().abs().max()) == 0:
            nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return generator


def told(generator: MultiViewGenerator, batch: int = 2) -> Tree:
    image = torch.rand(batch, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1))
    one = orbit(ring_azimuths_deg(VIEWS), 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    return generator.encode_condition(image, one.c2w.expand(batch, -1, -1, -1))


def latents(generator: MultiViewGenerator, batch: int = 2) -> Tensor:
    shape = (batch, *generator.latent_shape(VIEWS))
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def some_times(generator: MultiViewGenerator, *indices: int) -> Tensor:
    """Of ten: 0 the noisiest."""
    times: list[Time] = generator.schedule.times(10)
    return torch.tensor([times[i] for i in indices], dtype=generator.schedule.dtype)


def test_x0_and_eps_are_the_same_statement(generator: MultiViewGenerator) -> None:
    """z_t = signal x0 + sigma eps must hold for whatever the network says."""
    for indices in ((1, 4), (7, 9)):
        t = some_times(generator, *indices)
        z = generator.schedule.add_noise(latents(generator), latents(generator).flip(0), t)
        found = generator.predict(z, t, told(generator), 1.7)
        back = generator.schedule.add_noise(found.x0, found.eps, t)
        torch.testing.assert_close(back, z, rtol=1e-3, atol=1e-3)


def test_views_see_each_other_and_objects_do_not(generator: MultiViewGenerator) -> None:
    condition, z, t = told(generator), latents(generator), some_times(generator, 5, 5)
    before = generator.raw_prediction(z, t, condition)
    changed = z.clone()
    changed[0, 3] += 1.0
    after = generator.raw_prediction(changed, t, condition)
    assert (after[0, 0] - before[0, 0]).abs().max() > 1e-6
    torch.testing.assert_close(after[1], before[1])


def test_views_are_told_apart_by_their_cameras(generator: MultiViewGenerator) -> None:
    """The same latents in each view: cameras alone make the predictions differ."""
    z = latents(generator)[:, :1].expand(-1, VIEWS, -1, -1, -1)
    out = generator.raw_prediction(z, some_times(generator, 5, 5), told(generator))
    assert (out[:, 1] - out[:, 2]).abs().max() > 1e-6


def test_the_image_counts_and_not_without_condition(generator: MultiViewGenerator) -> None:
    one, other, z = told(generator), told(generator), latents(generator)
    other = over_tree(lambda a, b: a.flip(0) if a.is_floating_point() else b, other, other)
    t = some_times(generator, 5, 5)
    seen, unseen = (generator.raw_prediction(z, t, c) for c in (one, other))
    assert (seen - unseen).abs().max() > 1e-6


def test_guidance_one_is_conditional_and_branches_are_separate_calls(generator: MultiViewGenerator) -> None:
    condition, z, t = told(generator), latents(generator), some_times(generator, 3, 6)
    conditional = generator.raw_prediction(z, t, condition)
    free = generator.raw_prediction(z, t, generator.unconditional(condition))
    found = generator.branches(z, t, condition)
    torch.testing.assert_close(found, (free, conditional), rtol=1e-3, atol=1e-4)
    guided = generator.guide(free, conditional, 1.0)
    torch.testing.assert_close(guided, conditional, rtol=1e-3, atol=1e-4)
    more = generator.guide(free, conditional, 3.0)
    assert (more - conditional).abs().max() > 1e-6


def test_a_batch_equals_one_by_one(generator: MultiViewGenerator) -> None:
    condition, z, t = told(generator), latents(generator), some_times(generator, 3, 6)
    together = generator.raw_prediction(z, t, condition)
    single = generator.raw_prediction(z[1:], t[1:], over_tree(lambda x: x[1:], condition))
    torch.testing.assert_close(together[1:], single, rtol=1e-4, atol=1e-4)


def test_adapters_off_is_the_teacher_and_a_step_trains(generator: MultiViewGenerator) -> None:
    condition, z, t = told(generator), latents(generator), some_times(generator, 4, 4)
    teacher = generator.raw_prediction(z, t, condition).detach()
    parameters = attach_lora(generator, 2, 0)
    assert parameters, "alignment finds no layer to train"
    for name, parameter in parameters.items():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    optimiser = torch.optim.SGD(parameters.values(), lr=1e-2)
    student = generator.raw_prediction(z, t, condition)
    assert (student - teacher).abs().max() > 1e-5
    (student - teacher).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in parameters.values())
    optimiser.step()
    with generator.adapters_off(), torch.no_grad():
        torch.testing.assert_close(generator.raw_prediction(z, t, condition), teacher)


def test_a_fake_score_learns_beside_the_student_and_leaves_it_and_the_teacher(
    generator: MultiViewGenerator,
) -> None:
    condition, x0, t = told(generator), latents(generator), some_times(generator, 3, 6)
    z_t = generator.schedule.add_noise(x0, x0.flip(0), t)
    teacher = generator.raw_prediction(z_t, t, condition).detach()
    student = attach_lora(generator, 2, 0)
    settings = Asd(mode="fake_score", fake=Fake(rank=2, lr=1e-2))
    attach_fake(generator, settings, 0)
    fake = FakeScore(generator, settings)
    generator.checkpoint_gradients()
    generator.train()
    assert torch.equal(fake(z_t, t, condition).x0, generator.predict(z_t, t, condition).x0)
    for name, parameter in student.items():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(len(name)))
    with torch.no_grad():
        own = generator.raw_prediction(z_t, t, condition)

    def learn(updates: int) -> float:
        draws = ((t, x0.flip(0)) for _ in range(updates))
        clip = nn.utils.clip_grad_norm_
        return fake.learn(x0, condition, draws, lambda p: float(clip(p, 1.0)), nullcontext)["loss_fake"]

    before = learn(1)
    learn(20)
    assert learn(1) < 0.99 * before
    assert all(parameter.grad is None and parameter.requires_grad for parameter in student.values())
    with torch.no_grad():
        assert torch.equal(generator.raw_prediction(z_t, t, condition), own)
        with generator.adapters_off():
            torch.testing.assert_close(generator.raw_prediction(z_t, t, condition), teacher)
    assert (fake(z_t, t, condition).x0 - generator.predict(z_t, t, condition).x0).abs().max() > 1e-6


def test_views_become_latents_and_back_at_their_size(generator: MultiViewGenerator) -> None:
    images = torch.rand(2, VIEWS, 3, 2 * SIZE_PX, 2 * SIZE_PX)
    z = generator.encode_renderings(images, latents(generator))
    assert z.shape[1:] == generator.latent_shape(VIEWS)
    assert generator.decode(z).shape == (2, VIEWS, 3, SIZE_PX, SIZE_PX)
    images.requires_grad_(True)
    generator.decode(generator.encode(images)).sum().backward()
    assert images.grad is not None and float(images.grad.abs().max()) > 0


def test_gradient_checkpointing_gives_the_same_gradients(generator: MultiViewGenerator) -> None:
    def gradient() -> Tensor:
        z = latents(generator).requires_grad_(True)
        generator.raw_prediction(z, some_times(generator, 5, 5), told(generator)).square().mean().backward()
        assert z.grad is not None
        return z.grad

    plain = gradient()
    generator.checkpoint_gradients()
    generator.train()
    torch.testing.assert_close(gradient(), plain, rtol=1e-4, atol=1e-6)


def test_a_guided_call_counts_as_two(generator: MultiViewGenerator) -> None:
    z, t = latents(generator, 1), some_times(generator, 5)
    with counted_calls(generator.denoiser, generator.rows(VIEWS)) as calls:
        generator.predict(z, t, told(generator, 1), 2.0)
        generator.predict(z, t, told(generator, 1))
    assert calls == [3]
