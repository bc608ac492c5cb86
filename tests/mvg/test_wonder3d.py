"""The multi-view generator at a small size, with its real classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aligncvc.models.generators.parts import Vae
from aligncvc.models.generators.wonder3d.labels import CAMERA_DIM, camera_embedding
from aligncvc.models.generators.wonder3d.network import Wonder3D
from aligncvc.models.generators.wonder3d.settings import Settings, Unet
from aligncvc.models.pair import attach_lora
from aligncvc.scene.cameras import orbit, ring_azimuths_deg

SIZE_PX = 32


def small(prediction: str = "v_prediction") -> Settings:
    return Settings(
        vae=Vae(channels=[8, 16, 16], norm_groups=4),
        unet=Unet(channels=[16, 32], head_channels=8, norm_groups=4, prediction=prediction),
    )


@pytest.fixture
def generator() -> nn.Module:
    torch.manual_seed(0)
    return Wonder3D(small(), SIZE_PX).eval()


def cameras(batch: int, views: int = 4) -> torch.Tensor:
    one = orbit(ring_azimuths_deg(views), 10, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    return one.c2w.expand(batch, -1, -1, -1)


def condition(generator, batch: int = 2):
    torch.manual_seed(1)
    return generator.encode_condition(torch.rand(batch, 3, SIZE_PX, SIZE_PX), cameras(batch))


def test_x0_and_eps_are_the_same_statement(generator):
    """z_t = signal x0 + sigma eps must hold for whatever the network says, in both parametrisations."""
    for kind in ("epsilon", "v_prediction"):
        torch.manual_seed(0)
        g = Wonder3D(small(kind), SIZE_PX).eval()
        z = torch.randn(2, *g.latent_shape(4))
        t = torch.tensor([999, 300])
        p = g.predict(z, t, condition(g), 1.7)
        torch.testing.assert_close(g.schedule.add_noise(p.x0, p.eps, t), z, rtol=1e-4, atol=1e-4)


def test_views_see_each_other_and_objects_do_not(generator):
    """Changing one view's latents changes the other views of that object, and nothing of another object."""
    c = condition(generator)
    z = torch.randn(2, *generator.latent_shape(4))
    t = torch.tensor([500, 500])
    before = generator.predict(z, t, c).x0
    changed = z.clone()
    changed[0, 3] += 1.0
    after = generator.predict(changed, t, c).x0
    assert (after[0, 0] - before[0, 0]).abs().max() > 1e-6
    torch.testing.assert_close(after[1], before[1])


def test_guidance_one_is_conditional_and_guidance_is_linear(generator):
    c = condition(generator)
    z = torch.randn(2, *generator.latent_shape(4))
    t = torch.tensor([700, 200])
    conditional = generator.predict(z, t, c).eps
    free = generator.predict(z, t, generator.unconditional(c)).eps
    guided = generator.predict(z, t, c, 3.0).eps
    torch.testing.assert_close(guided, free + 3.0 * (conditional - free), rtol=1e-3, atol=1e-4)


def test_batch_equals_one_by_one(generator):
    c = condition(generator)
    z = torch.randn(2, *generator.latent_shape(4))
    t = torch.tensor([700, 200])
    together = generator.predict(z, t, c).x0
    single = type(c)(c.tokens[1:], c.latents[1:], c.cameras[1:])
    torch.testing.assert_close(together[1:], generator.predict(z[1:], t[1:], single).x0, rtol=1e-4, atol=1e-4)


def test_camera_embedding_is_wonder3ds_vector():
    embedding = camera_embedding(cameras(1))
    assert embedding.shape == (1, 4, CAMERA_DIM)
    sin, cos = embedding[0].chunk(2, -1)
    torch.testing.assert_close(sin[:, 2], torch.tensor([0.0, 1.0, 0.0, -1.0]), atol=1e-5, rtol=0)  # azimuth
    torch.testing.assert_close(sin[:, 1], torch.zeros(4), atol=1e-5, rtol=0)  # no elevation difference
    torch.testing.assert_close(
        sin[:, 3], torch.ones(4).sin()
    )  # the perspective flag goes through sin as well
    torch.testing.assert_close(cos[:, 4], torch.ones(4))


def test_adapters_off_is_the_teacher(generator):
    c = condition(generator)
    z = torch.randn(2, *generator.latent_shape(4))
    t = torch.tensor([999, 999])
    teacher = generator.predict(z, t, c).x0
    for name, parameter in attach_lora(generator, 4, 0).items():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    student = generator.predict(z, t, c).x0
    with generator.adapters_off():
        torch.testing.assert_close(generator.predict(z, t, c).x0, teacher)
    assert (student - teacher).abs().max() > 1e-4
    torch.testing.assert_close(generator.predict(z, t, c).x0, student)
