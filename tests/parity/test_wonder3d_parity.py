"""Our Wonder3D against what the official code yielded (tests/parity/data): keys, shapes and numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes
from wonder3d_cases import (
    ATTENTIONS,
    DIMS,
    attention_outputs,
    inputs,
    our_samples,
    ours,
    published,
    reduced,
    rig_cameras,
    rows,
)

from aligncvc.models.generators.wonder3d.labels import camera_embedding
from aligncvc.models.generators.wonder3d.network import Wonder3D, build_unet

Facts = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def facts() -> Facts:
    with np.load(DATA / "wonder3d.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.fixture(scope="module", params=sorted(DIMS))
def both(request) -> tuple[str, Wonder3D]:
    """(version, our generator of both domains), filled by formula."""
    return request.param, ours(reduced(request.param))


@pytest.mark.parametrize("kind", sorted(DIMS))
def test_keys_shapes_and_parameters_are_the_official_ones(kind: str) -> None:
    expected = json.loads((DATA / "wonder3d_keys.json").read_text())[kind]
    with torch.device("meta"):
        unet = build_unet(published(kind), 32)
    assert not key_differences(shapes(unet.state_dict()), expected)
    assert round(sum(p.numel() for p in unet.parameters()) / 1e6, 2) == 910.79


@torch.no_grad()
def test_both_domains_and_each_attention_are_the_official_ones(facts: Facts, both) -> None:
    version, generator = both
    with attention_outputs(generator.unet) as seen:
        output = rows(generator.raw_prediction(*inputs(version, 2, 3, 2)), 2)
    for name in ATTENTIONS:
        assert relative_error(seen[name], facts[f"{version} {name}"]) < TOLERANCE, name
    assert relative_error(output, facts[f"{version} both"]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "batch", "options"),
    [
        ("no cross-domain attention", 2, {"cross_domain": False}),
        ("pairs of views", 1, {"alone": "view_pairs"}),
        ("alone", 2, {}),
    ],
)
def test_colours_only_is_the_official_network(facts: Facts, name: str, batch: int, options: dict) -> None:
    generator = ours(reduced("wonder3d-plus", "colours", **options))
    output = rows(generator.raw_prediction(*inputs("wonder3d-plus", batch, 4, 1)), 1)
    assert relative_error(output, facts[f"colours {name}"]) < TOLERANCE


def test_samples_from_image_to_latents_are_the_official_ones(facts: Facts, both) -> None:
    """Image token, condition latents, camera labels, order of guidance and DDIM, all at once."""
    version, generator = both
    assert relative_error(our_samples(generator, version), facts[f"{version} samples"]) < TOLERANCE


@pytest.mark.parametrize(
    ("version", "camera_type", "name"),
    [
        ("wonder3d-v1", "orthographic", "wonder3d-v1 camera"),
        ("wonder3d-plus", "perspective", "wonder3d-plus camera perspective"),
        ("wonder3d-plus", "orthographic", "wonder3d-plus camera orthographic"),
    ],
)
def test_camera_vectors_are_the_official_ones(
    facts: Facts, version: str, camera_type: str, name: str
) -> None:
    found = camera_embedding(
        rig_cameras()[None], dim=DIMS[version], camera_type=camera_type, table=version,
        domains=("normals", "colours"),
    )  # fmt: skip
    assert relative_error(rows(found, 2), facts[name]) < TOLERANCE


@torch.no_grad()
def test_a_changed_network_or_order_is_noticed(facts: Facts) -> None:
    """Each kind of layer and the order of domains, views and objects matter far more than the tolerance."""
    generator = ours(reduced("wonder3d-plus"))
    expected = facts["wonder3d-plus both"]
    z, t, condition = inputs("wonder3d-plus", 2, 3, 2)
    for name in ("down_blocks.1.attentions.0.transformer_blocks.0.attn_joint_mid.to_k.weight",
                 "mid_block.attentions.0.transformer_blocks.0.norm_joint_mid.bias",
                 "up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_v.weight",
                 "class_embedding.linear_1.weight"):  # fmt: skip
        parameter = generator.unet.get_parameter(name)
        kept = parameter.clone()
        parameter.mul_(1.1)
        assert relative_error(rows(generator.raw_prediction(z, t, condition), 2), expected) > TOLERANCE, name
        parameter.copy_(kept)
    output = generator.raw_prediction(z, t, condition)
    for moved in (output.roll(4, 2), output.roll(1, 1), output.roll(1, 0)):
        assert relative_error(rows(moved, 2), expected) > 0.1
