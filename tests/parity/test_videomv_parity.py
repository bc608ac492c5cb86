"""Our VideoMV against what the official code yielded (tests/parity/data): keys, shapes and numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes
from videomv_cases import (
    ALPHAS,
    PUBLISHED,
    REDUCED,
    SIDE,
    Layout,
    filled,
    inputs,
    official_state,
    our_cameras,
    our_generator,
    our_image,
    our_samples,
    our_text,
    our_unet,
    our_vae,
)

from aligncvc.models.encoders import open_clip
from aligncvc.models.generators.videomv import released
from aligncvc.models.generators.videomv.network import VideoMV
from aligncvc.models.generators.videomv.unet import build_unet

Facts = dict[str, torch.Tensor]
Keys = dict[str, dict[str, list[int]]]


@pytest.fixture(scope="module")
def facts() -> Facts:
    with np.load(DATA / "videomv.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.fixture(scope="module")
def keys() -> Keys:
    return json.loads((DATA / "videomv_keys.json").read_text())


@pytest.fixture(scope="module")
def state(keys: Keys) -> Facts:
    """The official U-Net's weights, filled by formula."""
    with torch.device("meta"):
        module = build_unet(REDUCED, SIDE)
    return official_state(keys["unet"], module, released.unet)


@pytest.fixture(scope="module")
def clip(keys: Keys) -> Facts:
    """OpenCLIP's weights of both towers."""
    return filled({key: torch.empty(shape) for key, shape in keys["clip small"].items()})


@pytest.mark.parametrize(
    ("part", "official", "layout", "count", "parameters"),
    [
        ("unet", "unet", released.unet, 1515, 1422.130664),
        ("vae", "vae", released.vae, 248, 83.653863),
        ("text_encoder", "clip", open_clip.text_tower, 372, 340.387840),
        ("image_encoder", "clip", open_clip.image_tower, 520, 632.076800),
    ],
)
def test_every_official_tensor_becomes_one_of_ours(
    keys: Keys, part: str, official: str, layout: Layout, count: int, parameters: float
) -> None:
    """Keys, shapes and parameters at the published size, and no tensor is used twice or lost."""
    theirs = {key: torch.empty(shape, device="meta") for key, shape in keys[official].items()}
    with torch.device("meta"):
        module = VideoMV(PUBLISHED, 256).parts()[part]
    assert not key_differences(shapes(layout(theirs)), shapes(module.state_dict()))
    assert len(module.state_dict()) == count
    assert round(sum(p.numel() for p in module.parameters()) / 1e6, 6) == parameters
    if official == "clip":
        theirs = {k: v for k, v in theirs.items() if k.startswith("visual.") == (part == "image_encoder")}
    unused = ("logit_scale", "text_projection", "transformer.resblocks.23.") if part == "text_encoder" else ()
    used = [value.numel() for key, value in theirs.items() if not key.startswith(unused)]
    assert sum(used) == sum(value.numel() for value in module.state_dict().values())


def test_the_reconstructor_in_the_same_file_is_no_part_of_the_unet(state: Facts) -> None:
    ours = released.unet({**state, "lgm_big.unet.conv_in.weight": torch.zeros(3)})
    assert not key_differences(shapes(ours), shapes(released.unet(state)))


@torch.no_grad()
def test_the_unet_is_the_official_one(facts: Facts, state: Facts) -> None:
    generator = our_generator(our_unet(state, released.unet))
    assert relative_error(generator.raw_prediction(*inputs(2)), facts["unet"]) < TOLERANCE


def test_guided_steps_are_the_official_ones(facts: Facts, state: Facts) -> None:
    """Both branches, v-prediction, schedule, spacing and DDIM at once."""
    noisy, clean = our_samples(our_generator(our_unet(state, released.unet)))
    assert relative_error(noisy, facts["noisy"]) < TOLERANCE
    assert relative_error(clean, facts["clean"]) < TOLERANCE


def test_the_schedule_is_the_official_one(facts: Facts) -> None:
    schedule = our_generator(torch.nn.Identity()).schedule
    found = schedule.alphas_cumprod[list(ALPHAS)]
    assert relative_error(found, facts["alphas"]) < 1e-7 and float(found[-1]) == 0
    times = schedule.times(50)
    assert times == list(range(981, 0, -20)) and [times[i] for i in (20, 30, 40)] == [581, 381, 181]


def test_camera_tokens_are_the_official_ones(facts: Facts) -> None:
    assert relative_error(our_cameras()[0], facts["cameras"]) < TOLERANCE


def test_both_towers_are_the_official_ones(facts: Facts, clip: Facts) -> None:
    """The text's tokens also say that the ids of both prompts are the official tokeniser's."""
    assert relative_error(our_text(clip, open_clip.text_tower), facts["text"]) < TOLERANCE
    assert relative_error(our_image(clip, open_clip.image_tower), facts["image"]) < TOLERANCE
    name = "transformer.resblocks.1.attn.in_proj_weight"
    changed = {key: 1.1 * clip[key] for key in (name, f"visual.{name}")}
    assert relative_error(our_text(clip | changed, open_clip.text_tower), facts["text"]) > TOLERANCE
    assert relative_error(our_image(clip | changed, open_clip.image_tower), facts["image"]) > TOLERANCE


def test_the_vae_is_the_official_one(facts: Facts, keys: Keys) -> None:
    weights = filled({key: torch.empty(shape) for key, shape in keys["vae small"].items()})
    inside = {f"first_stage_model.{key}": value for key, value in weights.items()}
    means, pictures = our_vae(inside, released.vae)
    assert relative_error(means, facts["means"]) < TOLERANCE
    assert relative_error(pictures, facts["pictures"]) < TOLERANCE


@torch.no_grad()
def test_a_changed_weight_or_order_is_noticed(facts: Facts, state: Facts) -> None:
    generator = our_generator(our_unet(state, released.unet))
    for name in ("camera_embedding.2.weight", "fps_embedding.0.bias", "context_embedding.2.weight",
                 "image_latents_temporal_encoder.attn1.to_v.weight", "image_latents_proj_in.4.weight",
                 "image_latents_context_embedding.5.weight", "transformer_in.proj_in.weight",
                 "down_blocks.1.temp_convs.0.conv4.3.weight", "mid_block.attentions.0.proj_out.weight",
                 "up_blocks.1.temp_attentions.2.transformer_blocks.0.attn2.to_q.weight"):  # fmt: skip
        parameter = generator.unet.get_parameter(name)
        kept = parameter.clone()
        parameter.mul_(1.1)
        assert relative_error(generator.raw_prediction(*inputs(1)), facts["unet"][:1]) > TOLERANCE, name
        parameter.copy_(kept)
    output = generator.raw_prediction(*inputs(2))
    for moved in (output.roll(1, 1), output.roll(1, 0)):
        assert relative_error(moved, facts["unet"]) > 0.1
