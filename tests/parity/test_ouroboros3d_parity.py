"""Our Ouroboros3D against what the official code yielded (tests/parity/data): keys, shapes and numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ouroboros3d_cases import GUIDANCE, PUBLISHED_PX, VIEWS, depth, inputs, our_rays, ours, published, reduced
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes

from aligncvc.models.generators.ouroboros3d.maps import coordinate_maps
from aligncvc.models.generators.ouroboros3d.network import Ouroboros3D

Facts = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def facts() -> Facts:
    with np.load(DATA / "ouroboros3d.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.fixture(scope="module")
def generator() -> Ouroboros3D:
    return ours(reduced())


def test_keys_shapes_and_parameters_are_the_official_ones() -> None:
    expected = json.loads((DATA / "ouroboros3d_keys.json").read_text())
    with torch.device("meta"):
        whole = Ouroboros3D(published(), PUBLISHED_PX)
    assert not key_differences(shapes(whole.unet.state_dict()), expected) and len(expected) == 1572

    def counted(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    unet = whole.unet
    assert counted(unet) == 1_765_033_322 and counted(unet.unet) == 1_524_623_082
    assert [counted(adapter) for adapter in unet.cond_encoder] == [115_264_320] * 2
    assert counted(unet.down_plucker, unet.mid_plucker, unet.up_plucker) == 9_881_600
    assert counted(whole.vae) == 97_742_847 and counted(whole.image_encoder.tower) == 632_076_800
    assert {m.eps for n, m in unet.unet.named_modules() if n.endswith("norm1") and "spatial_res" in n} == {
        1e-6, 1e-5,
    }  # fmt: skip


@torch.no_grad()
def test_network_and_guided_latents_are_the_official_ones(facts: Facts, generator: Ouroboros3D) -> None:
    z, t, condition = inputs(facts["c2w"][VIEWS])
    found = generator.raw_prediction(z, t, condition)
    assert relative_error(found, facts["network"]) < TOLERANCE
    guided = generator.predict(z, t, condition, GUIDANCE)
    assert relative_error(guided.x0, facts["x0"]) < TOLERANCE
    even = generator.predict(z, t, condition, torch.full((len(VIEWS),), GUIDANCE))
    assert relative_error(even.x0[:, -1], guided.x0[:, -1]) < TOLERANCE
    assert relative_error(even.x0[:, 0], guided.x0[:, 0]) > 1e-3, "the first view is guided less"


@torch.no_grad()
def test_branches_of_the_releases_sampling_share_their_tokens(facts: Facts, generator: Ouroboros3D) -> None:
    """temporal_context: released is diffusers 0.25.0's order; a network of one branch does not see it."""
    case = inputs(facts["c2w"][VIEWS], batch=1)
    alternating = ours(reduced(temporal_context="released"))
    assert relative_error(torch.cat(alternating.branches(*case)), facts["pair"]) < TOLERANCE
    assert relative_error(torch.cat(generator.branches(*case)), facts["pair"]) > 1e-3
    alone = alternating.raw_prediction(*case)
    assert relative_error(alone, generator.raw_prediction(*case)) < TOLERANCE


def test_rays_and_maps_are_the_official_ones(facts: Facts) -> None:
    focal = float(facts["focal"])
    assert relative_error(our_rays(facts["c2w"], focal), facts["rays"]) < TOLERANCE
    poses, opaque = facts["c2w"][VIEWS][None], torch.ones_like(depth())
    found = coordinate_maps(depth(), opaque, poses, focal, "released")
    assert relative_error(found, facts["maps"]) < TOLERANCE
    empty = (depth() <= 0).expand_as(found)
    assert 0.2 < float(empty.float().mean()) < 0.5 and bool((found[empty] == 0.5).all())


@torch.no_grad()
@pytest.mark.parametrize("quirk", [{"rays": "true"}, {"ray_skips": False}])
def test_each_quirk_matters(facts: Facts, quirk: dict[str, object]) -> None:
    """The weights need the released forms: the true ones change the output by far more than rounding."""
    found = ours(reduced(**quirk)).raw_prediction(*inputs(facts["c2w"][VIEWS]))
    assert relative_error(found, facts["network"]) > 0.05


@torch.no_grad()
def test_a_changed_network_is_noticed(facts: Facts, generator: Ouroboros3D) -> None:
    """Each kind of layer, and which adapter sees which map, matters far more than the tolerance."""
    case, unet = inputs(facts["c2w"][VIEWS]), generator.unet
    for name in ("unet.down_blocks.1.resnets.0.temporal_res_block.conv1.weight",
                 "unet.mid_block.attentions.0.time_pos_embed.linear_1.weight",
                 "unet.up_blocks.2.attentions.1.time_mixer.mix_factor", "unet.add_embedding.linear_2.bias",
                 "cond_encoder.0.body.9.block2.weight", "cond_encoder.1.body.3.in_conv.weight",
                 "down_plucker.2.embed.0.weight", "mid_plucker.embed.2.bias",
                 "up_plucker.3.embed.2.weight"):  # fmt: skip
        parameter = unet.get_parameter(name)
        kept = parameter.clone()
        parameter.mul_(1.5)
        assert relative_error(generator.raw_prediction(*case), facts["network"]) > TOLERANCE, name
        parameter.copy_(kept)
    z, t, condition = case
    swapped = type(condition)(*(vars(condition)[k] for k in ("tokens", "latents", "c2w")),
                              condition.coordinates, condition.renderings)  # fmt: skip
    assert relative_error(generator.raw_prediction(z, t, swapped), facts["network"]) > 1e-3
