"""Wonder3D with two domains, its labels, its own sampling and its published sizes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))

from wonder3d_ddim import rig_azimuths_deg, same_noise, sample_ddim, wonder3d_times

from aligncvc.errors import UserError
from aligncvc.models.generators.parts import Clip, Vae
from aligncvc.models.generators.wonder3d.labels import LABELS, VIEWS, camera_embedding
from aligncvc.models.generators.wonder3d.network import Wonder3D, build, image_token, resized
from aligncvc.models.generators.wonder3d.settings import PRESETS, Settings, Unet
from aligncvc.models.ledger.weights import load_strict, renamed
from aligncvc.models.pair import attach_lora
from aligncvc.scene.cameras import orbit

SIZE_PX = 32
OLD_NAMES = {
    "attn_joint_twice": "attn_joint_mid",
    "norm_joint_twice": "norm_joint_mid",
    "attn_joint": "attn_joint_last",
    "norm_joint": "norm_joint_last",
}


def small(**changes) -> Settings:
    settings = {
        "vae": Vae(channels=[8, 16, 16], norm_groups=4, scaling_factor=0.18215),
        "unet": Unet(
            channels=[16, 32], heads=2, attention=[True, False], norm_groups=4, prediction="epsilon",
            cross_domain=True,
        ),
        "image_encoder": "clip",
        "clip": Clip(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, patch_size=8,
            image_size=16, projection_dim=24,
        ),
        "domains": "both",
    }  # fmt: skip
    return Settings(**{**settings, **changes})


def built(config: Settings) -> Wonder3D:
    """A generator whose every branch matters: cross-domain attention is no longer the identity."""
    torch.manual_seed(0)
    generator = Wonder3D(config, SIZE_PX).eval().requires_grad_(False)
    for name, parameter in generator.unet.named_parameters():
        if "attn_joint_mid.to_out" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return generator


def cameras(views: int = 4, batch: int = 2) -> torch.Tensor:
    one = orbit(rig_azimuths_deg(views), 0, distance=3, fov_y_deg=39.6, size_px=SIZE_PX)
    return one.c2w.expand(batch, -1, -1, -1)


def call(generator: Wonder3D, views: int = 4):
    torch.manual_seed(1)
    condition = generator.encode_condition(torch.rand(2, 3, SIZE_PX, SIZE_PX), cameras(views))
    return torch.randn(2, *generator.latent_shape(views)), torch.tensor([900, 200]), condition


@pytest.fixture(scope="module")
def generator() -> Wonder3D:
    return built(small())


def test_domains_see_each_other_within_a_view_and_objects_do_not(generator):
    z, t, condition = call(generator)
    before = generator.predict(z, t, condition).x0
    changed = z.clone()
    changed[0, 2, :4] += 1.0  # the normals of view 2 of the first object
    after = generator.predict(changed, t, condition).x0
    assert (after[0, 2, 4:] - before[0, 2, 4:]).abs().max() > 1e-4  # reach its own colours
    torch.testing.assert_close(after[1], before[1])


def test_guidance_and_batches_keep_objects_and_domains_apart(generator):
    """[unconditional; conditional] doubles the batch: counterparts are then twice as far apart."""
    z, t, condition = call(generator)
    guided = generator.predict(z, t, condition, 3.0).eps
    free, told = (
        generator.predict(z, t, generator.unconditional(condition)).eps,
        generator.predict(z, t, condition).eps,
    )
    torch.testing.assert_close(guided, free + 3.0 * (told - free), rtol=1e-3, atol=1e-4)
    single = type(condition)(condition.tokens[1:], condition.latents[1:], condition.cameras[1:])
    torch.testing.assert_close(told[1:], generator.predict(z[1:], t[1:], single).eps, rtol=1e-4, atol=1e-5)


def test_cross_domain_attention_starts_as_the_identity():
    torch.manual_seed(0)
    fresh = Wonder3D(small(), SIZE_PX).eval()
    plain = Wonder3D(small(unet=small().unet.model_copy(update={"cross_domain": False})), SIZE_PX).eval()
    state = {k: v for k, v in fresh.unet.state_dict().items() if "joint_mid" not in k}
    load_strict(plain.unet, state)
    z, t, condition = call(fresh)
    with torch.no_grad():
        torch.testing.assert_close(
            fresh.raw_prediction(z, t, condition), plain.raw_prediction(z, t, condition), rtol=1e-5, atol=1e-5
        )


def test_colours_alone_are_colours_that_meet_their_own_copy(generator):
    """One set of weights, both settings of the switch: with normals equal to the colours nothing changes."""
    alone = built(small(domains="colours"))
    load_strict(alone.unet, generator.unet.state_dict())
    z, t, condition = call(alone)
    twice = replace(condition, cameras=condition.cameras.repeat(1, 1, 2))
    expected = generator.raw_prediction(z.repeat(1, 1, 2, 1, 1), t, twice)
    torch.testing.assert_close(
        alone.raw_prediction(z, t, condition), expected[:, :, 4:], rtol=1e-4, atol=1e-5
    )


def test_view_pairs_join_opposite_views_of_one_object():
    unet = small().unet.model_copy(update={"attention": [False, False]})
    with pytest.raises(UserError, match="even number of views"):
        generator = built(small(unet=unet, domains="colours", colours_alone="view_pairs"))
        generator.raw_prediction(*call(generator, 5))


def test_encode_and_decode_keep_domains_in_order(generator):
    torch.manual_seed(2)
    images = torch.rand(1, 4, 6, SIZE_PX, SIZE_PX)
    latents = generator.encode(images)
    colours = built(small(domains="colours"))
    torch.testing.assert_close(latents[:, :, 4:], colours.encode(images[:, :, 3:]), rtol=1e-4, atol=1e-5)
    both = generator.decode_domains(latents)
    assert both.shape == (1, 4, 2, 3, SIZE_PX, SIZE_PX)
    torch.testing.assert_close(generator.decode(latents), both[:, :, 1], rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="renderings have no normals"):
        generator.encode(images[:, :, :3])


def test_views_of_another_size_are_resized():
    generator = built(small(size_px=16, domains="colours"))
    assert generator.latent_shape(4) == (4, 4, 4, 4)
    large = torch.rand(1, 4, 3, 32, 32)
    halves = large.unflatten(-1, (16, 2)).unflatten(-3, (16, 2)).mean((-1, -3))
    torch.testing.assert_close(generator.encode(large), generator.encode(halves), rtol=1e-4, atol=1e-5)
    assert generator.decode(generator.encode(large)).shape[-1] == 16
    assert resized(torch.rand(1, 3, 8, 8), 16).shape == (1, 3, 16, 16)


def test_image_token_is_clips_embedding_as_the_official_preprocessing_gives_it(generator):
    """transformers' own processor (bicubic on 8-bit pictures) and ours differ by rounding only."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    size = generator.image_encoder.size_px
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    torch.manual_seed(3)
    coarse = torch.rand(1, 3, 8, 8)
    image = (torch.nn.functional.interpolate(coarse, (SIZE_PX, SIZE_PX), mode="bilinear") * 255).round()
    pixels = processor(image[0].permute(1, 2, 0).byte().numpy(), return_tensors="pt").pixel_values
    expected = generator.image_encoder.tower(pixel_values=pixels).image_embeds
    token = image_token(generator.image_encoder, image / 255)
    assert token.shape == (1, 1, 24)
    torch.testing.assert_close(token[:, 0], expected, rtol=0, atol=0.02 * float(expected.abs().max()))


def test_labels_go_with_views_and_refuse_others():
    v1 = camera_embedding(cameras(6), dim=10, table="wonder3d-v1")
    assert v1.shape == (2, 6, 10)
    torch.testing.assert_close(v1[0, :, 2], LABELS["wonder3d-v1"][:, 1].sin())
    four = camera_embedding(cameras(4), table="wonder3d-plus", domains=("normals", "colours"))
    assert four.shape == (2, 4, 28)
    kept = [list(VIEWS).index(name) for name in ("front", "right", "back", "left")]
    torch.testing.assert_close(four[0, :, 1], LABELS["wonder3d-plus"][kept, 0].sin())
    assert not torch.equal(four[..., :14], four[..., 14:])  # the task flags differ
    odd = orbit([0, 60], 0, distance=3, fov_y_deg=40, size_px=8).c2w[None]
    with pytest.raises(UserError, match=r"stands at 60\.0"):
        camera_embedding(odd, table="wonder3d-v1")


def test_aligncvcs_angles_are_absolute_and_the_computed_ones_are_not():
    raised = orbit([0, 90], 30, distance=3, fov_y_deg=40, size_px=8).c2w[None]
    absolute = camera_embedding(raised, table="aligncvc")[0, :, :2]
    torch.testing.assert_close(absolute, torch.full((2, 2), 0.5), rtol=1e-5, atol=1e-6)  # sin 30 degrees
    torch.testing.assert_close(camera_embedding(raised)[0, :, :2], torch.zeros(2, 2), rtol=0, atol=1e-6)
    flags = camera_embedding(raised, camera_type="orthographic")[0, 0, 3:5]
    torch.testing.assert_close(flags, torch.tensor([0.0, 1.0]).sin())


def test_wonder3d_sampling_has_its_timesteps_and_ends_at_the_perfect_answer(generator):
    assert wonder3d_times(50)[:2] == [981, 961] and wonder3d_times(50)[-2:] == [1, 0]
    truth = torch.randn(1, 4, 8, 8, 8, generator=torch.Generator().manual_seed(4))

    class Oracle(Wonder3D):
        def raw_prediction(self, z_t, timesteps, condition):
            signal, sigma = self.schedule.signal_noise(timesteps)
            return (z_t - signal * truth) / sigma

    oracle = Oracle(small(), SIZE_PX)
    _, _, condition = call(oracle)
    one = type(condition)(condition.tokens[:1], condition.latents[:1], condition.cameras[:1])
    z = same_noise(torch.randn(1, 4, 4, 8, 8, generator=torch.Generator().manual_seed(5)), 2)
    assert torch.equal(z[:, :, :4], z[:, :, 4:])

    def noise(step: int) -> torch.Tensor:
        return torch.randn(z.shape, generator=torch.Generator().manual_seed(step))

    result = sample_ddim(oracle, one, z, 20, 1.0, noise=noise)
    # the last level is t = 0, whose noise is 0.03 of the signal's scale
    assert (result - truth).abs().max() < 0.2


@pytest.mark.parametrize(("preset", "dim"), [("v1", 10), ("plus", 14)])
def test_published_networks_have_their_sizes_whatever_is_rendered(preset: str, dim: int):
    with torch.device("meta"):
        generator = build({**PRESETS[preset], "domains": "both"}, 512)
    assert generator.latent_shape(6) == (6, 8, 32, 32)
    millions = {
        name: round(sum(p.numel() for p in getattr(generator, name).parameters()) / 1e6, 2)
        for name in ("unet", "vae", "image_encoder")
    }
    assert millions == {"unet": 910.79, "vae": 83.65, "image_encoder": 303.97}
    assert generator.unet.config.projection_class_embeddings_input_dim == dim
    joint = [name for name in generator.unet.attn_processors if "attn_joint_mid" in name]
    assert len(joint) == 16


def test_lora_of_rank_four_has_the_released_size():
    with torch.device("meta"):
        count = sum(p.numel() for p in attach_lora(build(PRESETS["plus"], 256), 4, 0).values())
    assert round(count / 1e6, 2) == 1.20


def test_old_key_names_migrate_and_stray_ones_are_named(generator):
    """Old checkpoints say attn_joint_twice; what they call attn_joint is a layer this network lacks."""
    state = generator.unet.state_dict()
    old = {k.replace("joint_mid", "joint_twice"): v for k, v in state.items()}
    assert old.keys() != state.keys()
    torch.manual_seed(9)
    other = Wonder3D(small(), SIZE_PX)
    load_strict(other.unet, renamed(old, OLD_NAMES))
    assert all(torch.equal(v, state[k]) for k, v in other.unet.state_dict().items())
    stray = dict(old)
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    stray[f"{block}.attn_joint.to_q.weight"] = torch.zeros(16, 16)
    with pytest.raises(UserError, match=r"1 unexpected: .*attn_joint_last"):
        load_strict(other.unet, renamed(stray, OLD_NAMES))


def test_gradient_checkpointing_gives_the_same_gradients(generator):
    trained = built(small())
    trained.unet.requires_grad_(True).train()
    z, t, condition = call(trained)
    gradients = []
    for on in (False, True):
        if on:
            trained.unet.enable_gradient_checkpointing()
        trained.unet.zero_grad()
        trained.raw_prediction(z, t, condition).square().mean().backward()
        gradients.append({n: p.grad.clone() for n, p in trained.unet.named_parameters()})
    assert all(torch.allclose(gradients[0][n], gradients[1][n], rtol=1e-4, atol=1e-7) for n in gradients[0])
    assert (
        float(
            gradients[0]["down_blocks.0.attentions.0.transformer_blocks.0.attn_joint_mid.to_q.weight"].norm()
        )
        > 0
    )
