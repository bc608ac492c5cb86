"""Every feedback rule with every form of generator and reconstructor, at tiny size: runs, or says why not."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import (
    GENERATORS,
    RECONSTRUCTORS,
    SIZE_PX,
    tiny_generator,
    tiny_reconstructor,
    tiny_spec,
)

from aligncvc.errors import UserError
from aligncvc.loop.feedback import find_feedback, known_feedbacks
from aligncvc.loop.unroll import Loop, Sampled, sample, view_noise
from aligncvc.models.generators.base import MultiViewGenerator, TakesMaps
from aligncvc.models.generators.schedules import AlphaSchedule, SigmaSchedule
from aligncvc.models.kinds import takes_maps
from aligncvc.models.pair import PairOfModels
from aligncvc.models.specs import PairSpec
from aligncvc.scene.cameras import orbit, ring_azimuths_deg
from aligncvc.scene.renderset import batched
from aligncvc.scene.rigs import Rig

VIEWS, STEPS = 4, 3
LISTED = [999, 666, 333]
"""Timesteps as a configuration would list them, for rules that take any."""


def pair_of(generator: str, reconstructor: str) -> PairOfModels:
    spec = PairSpec(
        name="tiny",
        generator=tiny_spec("generators", generator),
        reconstructor=tiny_spec("reconstructors", reconstructor),
        rig=Rig(azimuths_deg=ring_azimuths_deg(VIEWS)),
        views_px=SIZE_PX,
        renderings_px=SIZE_PX,
        guidance=1.5,
        seed=0,
    )
    return PairOfModels(spec, tiny_generator(generator), tiny_reconstructor(reconstructor))


def sampled(pair: PairOfModels, name: str) -> Sampled:
    feedback, generator = find_feedback(name), pair.generator
    cameras = orbit(pair.spec.rig.azimuths_deg, 0, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)

    def noise(index: int, _: object) -> torch.Tensor:
        return view_noise(generator.latent_shape(VIEWS), 0, "tiny", index)[None]

    loop = Loop(pair, batched([cameras]), pair.spec.guidance, noise)
    times = feedback.times(generator.schedule, STEPS, LISTED if feedback.jumps else None)
    image = torch.rand(3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1))
    return sample(loop, feedback, image, times)


@pytest.mark.parametrize("reconstructor", RECONSTRUCTORS)
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("feedback", known_feedbacks())
def test_it_runs_or_says_why_not(feedback: str, generator: str, reconstructor: str) -> None:
    pair = pair_of(generator, reconstructor)
    if feedback == "ouroboros3d" and not takes_maps(pair.spec.generator.kind):
        with pytest.raises(UserError, match=r"the generator of pair tiny .* takes none; choose another"):
            find_feedback(feedback).check(pair.spec, STEPS)
        return
    find_feedback(feedback).check(pair.spec, STEPS)
    found = sampled(pair, feedback)
    assert found.renderings.shape == (STEPS, VIEWS, 3, SIZE_PX, SIZE_PX)
    for part in (found.gaussians.means, found.gaussians.colors, found.views, found.renderings):
        assert bool(part.isfinite().all())


@pytest.mark.parametrize("form", GENERATORS)
def test_kinds_that_say_so_take_maps(form: str) -> None:
    generator = tiny_generator(form)
    assert isinstance(generator, TakesMaps) is takes_maps(tiny_spec("generators", form).kind)


@pytest.mark.parametrize("form", GENERATORS)
def test_guidance_of_the_networks_output_is_guidance_of_clean_latents(form: str) -> None:
    """Which VideoMV's rule relies on: it guides x0 where it looks, and leaves the rest to `predict`."""
    generator: MultiViewGenerator = tiny_generator(form)
    image = torch.rand(1, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1))
    cameras = orbit(ring_azimuths_deg(VIEWS), 0, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    condition = generator.encode_condition(image, cameras.c2w[None])
    z = view_noise(generator.latent_shape(VIEWS), 0, "z")[None]
    t = torch.tensor([generator.schedule.times(10)[4]], dtype=generator.schedule.dtype)
    free, told = (generator.prediction(raw, z, t).x0 for raw in generator.branches(z, t, condition))
    expected = generator.predict(z, t, condition, 2.5).x0
    torch.testing.assert_close(generator.guide(free, told, 2.5), expected, rtol=1e-3, atol=1e-4)


def test_listed_timesteps_are_as_noisy_on_a_schedule_of_sigmas() -> None:
    alphas, sigmas = AlphaSchedule.scaled_linear(), SigmaSchedule()
    assert alphas.listed(LISTED) == LISTED
    times = sigmas.listed([999, 749, 599, 299])
    found = sigmas.signal_noise(torch.tensor(times))[1].flatten()
    signal, noise = (part.flatten() for part in alphas.signal_noise(torch.tensor([749, 599, 299])))
    torch.testing.assert_close(found, torch.cat([torch.tensor([700.0]), noise / signal]), rtol=1e-4, atol=0)
    assert [round(float(sigma), 2) for sigma in found[1:]] == [4.08, 2.28, 0.83]
