"""Our GeoLRM against what the official code yielded (tests/parity/data), key for key, number for number."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from geolrm_cases import FORMS, KEPT, our_geometry, our_model, our_values, reduced
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes
from torch import Tensor

from aligncvc.models.reconstructors.geolrm.network import build, released
from aligncvc.models.reconstructors.geolrm.settings import PRESETS

LAYER = "transformer.layers.1"


@pytest.fixture(scope="module")
def facts() -> dict[str, Tensor]:
    with np.load(DATA / "geolrm.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def errors(facts: dict[str, Tensor], form: str, values: dict[str, Tensor]) -> dict[str, float]:
    """Relative error of each fact of a form."""
    found = {}
    for name in ("features", "logits"):
        found[name] = relative_error(values[name][..., ::KEPT, :], facts[f"{form}: {name}"])
    for b, own in enumerate(values["gaussians"]):
        wanted = facts[f"{form}: gaussians {b}"]
        found[f"gaussians {b}"] = relative_error(own[::KEPT][: len(wanted)], wanted)
        assert not own[KEPT * len(wanted) :, 3].any(), "what is beyond the official ones must be invisible"
    return found


def release() -> dict[str, list[int]]:
    """Keys of the released networks, and one of the losses that its file holds beside them."""
    keys = json.loads((DATA / "geolrm_keys.json").read_text())
    return {**keys, "lpips.net.slice1.0.weight": [64, 3, 3, 3]}


def test_the_release_has_our_keys_and_shapes() -> None:
    with torch.device("meta"):
        stored = released({key: torch.empty(shape) for key, shape in release().items()})
        ours = build(PRESETS["base"]).state_dict()
    assert not key_differences(shapes(ours), shapes(stored))


@pytest.mark.parametrize(
    ("part", "parameters", "keys"), [("serializer", 105_728_003, 359), ("lrm_generator", 228_828_301, 561)]
)
def test_the_networks_have_the_published_size(part: str, parameters: int, keys: int) -> None:
    """105.7 M and 228.8 M, built without allocating them."""
    with torch.device("meta"):
        network = build(PRESETS["base"]).get_submodule(part)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == keys == sum(key.startswith(f"{part}.") for key in release())


@pytest.mark.parametrize("form", FORMS)
def test_networks_and_gaussians_are_the_official_ones(facts: dict[str, Tensor], form: str) -> None:
    found = errors(facts, form, our_values(our_model(reduced(form)), facts["c2w"]))
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize(
    ("form", "switch", "value"),
    [
        ("trained", "self_attention", "tokens"),
        ("trained", "positions", "size"),
        ("between tokens", "rope_scale", 0.5),
    ],
)
def test_each_switch_matters(facts: dict[str, Tensor], form: str, switch: str, value: Any) -> None:
    values = our_values(our_model({**reduced(form), switch: value}), facts["c2w"])
    own, official = values["gaussians"][0][::KEPT], facts[f"{form}: gaussians 0"]
    assert len(own) != len(official) or relative_error(own, official) > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("logits", "serializer.encoder.model.embeddings.position_embeddings"),
        ("logits", "serializer.encoder.deconv.1.running_var"),
        (
            "logits",
            f"serializer.{LAYER}.cross_attention.deformable_attention.sampling_offsets.weight",
        ),
        ("logits", f"serializer.{LAYER}.self_attention.wk.weight"),
        ("gaussians", "lrm_generator.encoder.low_level_encoder.0.weight"),
        ("gaussians", f"lrm_generator.{LAYER}.cross_attention.cross_view_weight.weight"),
        ("gaussians", f"lrm_generator.{LAYER}.cross_attention_norm.weight"),
        ("gaussians", f"lrm_generator.{LAYER}.feed_forward.w3.weight"),
        ("gaussians", "lrm_generator.transformer.query_token"),
        ("gaussians", "lrm_generator.renderer.latent_decoder.2.bias"),
    ],
)
def test_a_changed_network_is_noticed(facts: dict[str, Tensor], output: str, name: str) -> None:
    """Each kind of layer matters to the output: a small change of one weight goes past the tolerance."""
    model = our_model(reduced("trained"))
    model.state_dict()[name].mul_(1.05)
    values = our_values(model, facts["c2w"])
    if output == "logits":
        found = relative_error(values["logits"][..., ::KEPT, :], facts["trained: logits"])
    else:
        official = facts["trained: gaussians 1"]
        found = relative_error(values["gaussians"][1][::KEPT][: len(official)], official)
    assert found > TOLERANCE


def test_rays_and_projection_are_the_official_ones(facts: dict[str, Tensor]) -> None:
    """Its cameras are OpenGL's, its depths negative and its u mirrored; ours are none of these."""
    for name, value in our_geometry(facts["c2w"], facts["rays"].shape[-1]).items():
        assert relative_error(value, facts[name]) < TOLERANCE
