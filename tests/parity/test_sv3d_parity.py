"""Our SV3D against what the official code yielded (tests/parity/data): keys, shapes and numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes
from sv3d_cases import (
    ELEVATIONS,
    FAINT,
    LARGEST,
    PARTS,
    VECTOR_DIMS,
    call,
    filled,
    frames,
    image,
    key_list,
    our_output,
    our_samples,
    ours,
    published,
    reduced,
    turn,
)
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.generators.schedules import SigmaSchedule
from aligncvc.models.generators.sv3d import released
from aligncvc.models.generators.sv3d.network import SV3D
from aligncvc.models.generators.sv3d.orbit import orbit_angles, triangle, view_vectors
from aligncvc.models.generators.svd import image_token, smoothly_resized
from aligncvc.scene.cameras import orbit

TURN = "counter-clockwise"
PARAMETERS = {"p": 1_525_278_442, "u": 1_523_967_722}


@pytest.fixture(scope="module")
def facts() -> dict[str, Tensor]:
    with np.load(DATA / "sv3d.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.fixture(scope="module")
def generator() -> SV3D:
    return ours(reduced("p"), filled(key_list("reduced p")))


@pytest.mark.parametrize("variant", sorted(PARAMETERS))
def test_the_released_file_fills_every_tensor_of_ours(variant: str) -> None:
    """Names and shapes of the official file, by the functions that the ledger names; nothing is left over."""
    keys = key_list(variant)
    state = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    with torch.device("meta"):
        parts = SV3D(published(variant), 576).parts()
    counts = {"unet": (released.unet, 1428), "vae": (released.vae, 246),
              "image_encoder": (released.image_encoder, 520)}  # fmt: skip
    for part, (layout, count) in counts.items():
        found = shapes(layout(state))
        assert not key_differences(found, shapes(parts[part].state_dict())), part
        assert len(found) == count, part
    assert sum(p.numel() for p in parts["unet"].parameters()) == PARAMETERS[variant]
    assert sum(key.startswith(PARTS["unet"]) for key in keys) == 1428  # one to one
    assert sum(key.endswith("mix_factor") for key in parts["unet"].state_dict()) == 38


@pytest.mark.parametrize("variant", sorted(VECTOR_DIMS))
def test_unet_is_the_official_one(facts: dict[str, Tensor], variant: str) -> None:
    generator = ours(reduced(variant), filled(key_list(f"reduced {variant}")))
    assert relative_error(our_output(generator, *call(variant)), facts[f"unet {variant}"]) < TOLERANCE


def test_a_changed_weight_is_noticed(facts: dict[str, Tensor], generator: SV3D) -> None:
    """Each kind of layer matters to the output: a small change of one weight goes past the tolerance."""
    given, expected = call("p"), facts["unet p"]
    block = "down_blocks.1.attentions.0"
    for name in (
        f"{block}.temporal_transformer_blocks.0.ff_in.net.2.weight",
        f"{block}.time_mixer.mix_factor",
        f"{block}.time_pos_embed.linear_2.bias",
        "mid_block.resnets.1.temporal_res_block.conv2.weight",
        "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_v.weight",
        "up_blocks.2.resnets.0.time_mixer.mix_factor",
        "add_embedding.linear_1.weight",
    ):
        parameter = generator.unet.get_parameter(name)
        kept = parameter.clone()
        parameter.mul_(1.05)
        assert relative_error(our_output(generator, *given), expected) > TOLERANCE, name
        parameter.copy_(kept)


def test_norms_add_what_the_official_ones_add(facts: dict[str, Tensor]) -> None:
    """1e-5 in residual blocks and before the output, 1e-6 in transformers; small activations show it."""
    given, state, expected = call("p"), filled(key_list("reduced p"), FAINT), facts["unet faint"]
    even, mixed = (our_output(ours(reduced("p", even_norms=e), state), *given) for e in (True, False))
    assert relative_error(even, expected) < TOLERANCE and relative_error(mixed, expected) > 1e-4
    with torch.device("meta"):
        unet = SV3D(reduced("p"), 128).unet
    norms = {name: m.eps for name, m in unet.named_modules() if isinstance(m, nn.GroupNorm)}
    residual = {name for name in norms if "_res_block." in name}
    assert len(residual) == 22 * 4 and {norms[name] for name in residual} == {1e-5}
    assert {norms[name] for name in norms if "attentions" in name} == {1e-6}
    assert norms["conv_norm_out"] == 1e-5


@torch.no_grad()
def test_vae_and_image_token_are_the_official_ones(facts: dict[str, Tensor], generator: SV3D) -> None:
    condition = generator.encode_condition(image(), turn(ELEVATIONS))
    assert relative_error(condition.latents, facts["latents"]) < TOLERANCE
    scaled = facts["latents"][:, None] * 0.18215
    decoded = generator.decode(scaled)[:, 0, :, ::4, ::4] * 2 - 1
    assert relative_error(decoded, facts["decoded"]) < TOLERANCE
    assert relative_error(image_token(generator.image_encoder, image(300))[:, 0], facts["token"]) < TOLERANCE
    encoder = generator.image_encoder
    for side in (96, 300, 576):
        pixels = (smoothly_resized(image(side), 224) - encoder.mean) / encoder.std
        assert relative_error(pixels[..., ::16, ::16], facts[f"resized {side}"]) < TOLERANCE


def test_samples_from_image_to_latents_are_the_official_ones(
    facts: dict[str, Tensor], generator: SV3D
) -> None:
    """Token, unscaled latents, vectors, triangle, form of the prediction and Euler, all at once."""
    assert relative_error(our_samples(generator), facts["samples"]) < 2 * TOLERANCE


def test_angles_of_a_turn_are_the_official_ones(facts: dict[str, Tensor]) -> None:
    """The frames of the official script, of which the last is the input view: our first."""
    elevations, polars, azimuths = facts["angles"]
    cameras = turn(elevations.tolist())
    polar, azimuth = (frames(angle)[0] for angle in orbit_angles(cameras, TURN))
    torch.testing.assert_close(polar.double(), polars, rtol=0, atol=1e-6)
    torch.testing.assert_close(azimuth.double(), azimuths, rtol=0, atol=3e-6)
    assert float(azimuth[-1]) == 0 and float(azimuth[0]) == pytest.approx(np.deg2rad(360 / 21), abs=1e-5)
    vectors = frames(view_vectors(cameras, "angles", TURN, 1e-5))[0]
    assert vectors.shape == (21, 1280)
    assert relative_error(vectors[:, ::8], facts["vectors"]) < TOLERANCE


@pytest.mark.parametrize("count", [4, 21])
def test_guidance_is_the_official_triangle(facts: dict[str, Tensor], count: int) -> None:
    weights = frames(triangle(count, LARGEST, TURN)[None])
    assert relative_error(weights, facts[f"guidance {count}"]) < TOLERANCE
    if count == 21:
        assert weights[0].tolist()[:3] == pytest.approx([1.0, 1.15, 1.3])
        assert float(weights[0, 10]) == pytest.approx(2.5) and float(weights[0, 20]) == pytest.approx(1)


def test_a_clockwise_network_sees_the_same_turn_from_its_other_end() -> None:
    cameras = orbit([0, 30, 200], 0, distance=3, fov_y_deg=30, size_px=8).c2w[None]
    azimuth = orbit_angles(cameras, "clockwise")[1].rad2deg()
    assert azimuth[0].tolist() == pytest.approx([0, 330, 160], abs=1e-3)
    assert triangle(5, 3.0, "clockwise").tolist() == pytest.approx([1, 2, 3, 2, 1])
    assert triangle(5, 3.0, TURN).tolist() == pytest.approx([1, 1, 2, 3, 2])


@pytest.mark.parametrize(
    ("azimuths", "even"), [([0, 90, 45], False), ([0, 90, 0], False), ([10, 90, 180], False), ([0, 90], True)]
)
def test_views_that_are_no_turn_are_refused(azimuths: list[float], even: bool) -> None:
    cameras = orbit(azimuths, 0, distance=3, fov_y_deg=30, size_px=8).c2w[None]
    with pytest.raises(UserError, match="round the object"):
        orbit_angles(cameras, TURN, even=even)


@pytest.mark.parametrize("steps", [4, 25, 50])
def test_schedule_is_diffusers_euler_with_the_configuration_of_svd(steps: int) -> None:
    euler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
        sigma_min=0.002, sigma_max=700.0, steps_offset=1, timestep_spacing="leading",
        timestep_type="continuous", use_karras_sigmas=True,
    )  # fmt: skip
    euler.set_timesteps(steps)
    times = torch.tensor(SigmaSchedule().times(steps), dtype=torch.float32)
    torch.testing.assert_close(times, euler.timesteps.float(), rtol=1e-6, atol=1e-6)
    sigmas = SigmaSchedule().signal_noise(times)[1].flatten()
    torch.testing.assert_close(sigmas, euler.sigmas[:-1], rtol=3e-6, atol=0)
    start = SigmaSchedule().start(torch.ones(1), float(times[0]))
    assert float(start) == pytest.approx(float(euler.init_noise_sigma), rel=1e-5)
