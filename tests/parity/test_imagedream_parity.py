"""Our ImageDream against what Gen-3Diffusion's code yielded (tests/parity/data): keys, shapes and numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from imagedream_cases import (
    ELEVATION_DEG,
    SIZE_PX,
    image,
    inputs,
    our_samples,
    ours,
    published,
    rig_cameras,
)
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from aligncvc.errors import UserError
from aligncvc.models.generators.imagedream.network import (
    ImageDream,
    build_unet,
    camera_tokens,
    resized_for_clip,
)
from aligncvc.models.generators.imagedream.prompts import IDS, TEXTS
from aligncvc.models.generators.imagedream.released import unet_from_released
from aligncvc.models.generators.imagedream.settings import PRESETS, Settings
from aligncvc.models.generators.text import END, LENGTH, PAD, START, build_text_encoder, padded
from aligncvc.models.ledger.weights import load_strict

Facts = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def facts() -> Facts:
    with np.load(DATA / "imagedream.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.fixture(scope="module")
def generator() -> ImageDream:
    return ours()


def released_state() -> dict[str, torch.Tensor]:
    """The published file's keys and shapes, without memory."""
    keys = json.loads((DATA / "imagedream_keys.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in keys.items()}


def test_keys_shapes_and_parameters_are_the_official_ones() -> None:
    state = released_state()
    with torch.device("meta"):
        unet, text = build_unet(published(), 32), build_text_encoder(published().text)
    assert not key_differences(shapes(unet.state_dict()), shapes(unet_from_released(state)))
    assert len(state) == 773 and sum(value.numel() for value in state.values()) == 941_672_900
    assert sum(p.numel() for p in unet.parameters()) == 941_672_900
    assert sum(p.numel() for p in unet.image_embed.parameters()) == 48_541_696
    assert (sum(p.numel() for p in text.parameters()), len(text.state_dict())) == (340_387_840, 372)


def test_a_released_file_with_a_key_less_or_more_is_refused() -> None:
    with torch.device("meta"):
        unet = build_unet(published(), 32)
    for change in ({"input_blocks.4.0.in_layers.0.weight": None}, {"label_emb.weight": torch.empty(3)}):
        state = {k: v for k, v in (released_state() | change).items() if v is not None}
        with pytest.raises(UserError, match=r"resnets\.0\.norm1\.weight|label_emb"):
            load_strict(unet, unet_from_released(state))


def test_towers_load_from_names_of_released_files() -> None:
    """A whole CLIP has the prefixes under which each tower alone has always been saved."""
    generator = ImageDream(Settings.model_validate(PRESETS["tiny"]), SIZE_PX)
    for part in ("text", "image"):
        tower = generator.parts()[f"{part}_encoder"]
        name = {"text": "text", "image": "vision"}[part]
        whole = CLIPModel(CLIPConfig(**{f"{name}_config": tower.config.to_dict()}))
        load_strict(tower, whole.state_dict(), prefix=f"{name}_model.")
        expected = whole.get_parameter(f"{name}_model.encoder.layers.0.mlp.fc1.weight")
        assert torch.equal(tower.get_parameter("encoder.layers.0.mlp.fc1.weight"), expected)


@torch.no_grad()
def test_the_network_and_its_resampler_are_the_official_ones(facts: Facts, generator: ImageDream) -> None:
    z, t, condition = inputs(2)
    assert relative_error(generator.raw_prediction(z, t, condition), facts["unet"]) < TOLERANCE
    features = torch.cat([condition.features, torch.zeros_like(condition.features[:1])])
    assert relative_error(generator.unet.image_embed(features), facts["resampler"]) < TOLERANCE


def test_samples_from_image_to_latents_are_the_official_ones(facts: Facts, generator: ImageDream) -> None:
    """CLIP's features, prompts, the image's latents, camera tokens, guidance and DDIM, all at once."""
    found = generator.encode_condition(image()[None], rig_cameras()[None])
    assert relative_error(found.features, facts["features"]) < TOLERANCE
    assert relative_error(our_samples(generator), facts["samples"]) < TOLERANCE


def test_camera_tokens_are_the_official_ones(facts: Facts) -> None:
    assert relative_error(camera_tokens(rig_cameras()[None])[0, :-1], facts["poses"]) < TOLERANCE
    tokens = camera_tokens(rig_cameras(ELEVATION_DEG)[None])[0]
    assert relative_error(tokens, facts["orbit"]) < TOLERANCE


@torch.no_grad()
def test_a_changed_network_or_order_is_noticed(facts: Facts) -> None:
    """Each kind of layer matters to the output; so does the order of views and of objects."""
    generator, (z, t, condition) = ours(), inputs(2)
    block = "up_blocks.1.attentions.2.transformer_blocks.0"
    for name in (f"{block}.attn1.to_v.weight", f"{block}.attn2.to_k.weight", "image_embed.latents",
                 f"{block}.attn2.processor.to_k_ip.0.weight", f"{block}.attn2.processor.to_v_ip.0.weight",
                 "image_embed.layers.3.attn.to_k.weight", "class_embedding.linear_1.weight"):  # fmt: skip
        parameter = generator.unet.get_parameter(name)
        kept = parameter.clone()
        parameter.mul_(1.1)
        assert relative_error(generator.raw_prediction(z, t, condition), facts["unet"]) > TOLERANCE, name
        parameter.copy_(kept)
    output = generator.raw_prediction(z, t, condition)
    for axis in (0, 1):
        assert relative_error(output.roll(1, axis), facts["unet"]) > 0.1


def test_the_unconditional_branch_has_no_image_and_the_negative_prompt(generator: ImageDream) -> None:
    condition = generator.encode_condition(image()[None], rig_cameras()[None])
    free = generator.unconditional(condition)
    assert not free.features.any() and not free.latents.any()
    assert torch.equal(free.text, condition.negative) and not torch.equal(condition.text, free.text)
    assert generator.unet.image_embed(free.features).abs().mean() > 0.1  # zeros come before the resampler


@pytest.mark.parametrize("prompts", sorted(TEXTS))
def test_prompts_have_the_form_of_clips_ids(prompts: str) -> None:
    """Single characters have ids that follow from bytes; longer words have one or more of the later ids."""
    for text, words in zip(TEXTS[prompts], IDS[prompts], strict=True):
        ids = padded(words)
        assert len(ids) == LENGTH and ids[0] == START and ids[len(words) + 1] == END
        assert set(ids[len(words) + 2 :]) == {PAD}
        parts = re.findall(r"[a-z]+|\d|[^\sa-z\d]", text)
        single = [256 + ord(part) - ord("!") for part in parts if len(part) == 1]
        assert [i for i in words if i < 512] == single
        assert len(parts) <= len(words) <= len(parts) + 3 and max(words, default=0) < START


def test_the_filtered_resize_is_pillows() -> None:
    """LGM's pipeline shrinks 8-bit pictures with Pillow, to a rounding step of theirs."""
    # not to the ends of the range: Pillow clips between its two passes
    rows = (torch.rand(96, 96, 3, generator=torch.Generator().manual_seed(0)) * 100 + 80).round()
    picture = Image.fromarray(rows.byte().numpy()).resize((56, 56), Image.Resampling.BICUBIC)
    found = resized_for_clip(rows.permute(2, 0, 1)[None] / 255, 56, "antialias")[0].permute(1, 2, 0) * 255
    assert (found - torch.from_numpy(np.array(picture)).float()).abs().max() < 1.01


def test_formula_fills_the_reference_by_our_names() -> None:
    """The layout gives views, not copies: what is written under our names is in the official state."""
    state = {"image_embed.layers.0.0.to_kv.weight": torch.zeros(4, 2)}
    ours_named = unet_from_released(state)
    ours_named["image_embed.layers.0.attn.to_v.weight"].fill_(1)
    assert state["image_embed.layers.0.0.to_kv.weight"].sum(1).tolist() == [0, 0, 2, 2]
