"""LGM's other forms against what the official code of three systems yielded (tests/parity/data)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lgm_cases import REDUCED_PX
from lgm_forms_cases import (
    form_features,
    official_name,
    our_network_input,
    pictures,
    reduced,
    rows,
    sparse,
)
from parity_tools import DATA, TOLERANCE, key_differences, relative_error, shapes

from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.ledger.weights import in_our_layout, load_strict
from aligncvc.models.reconstructors.base import At
from aligncvc.models.reconstructors.lgm.network import build
from aligncvc.models.reconstructors.lgm.settings import PRESETS

TOLD = ("gen3diffusion", "ouroboros3d")
PARAMETERS = {"gen3diffusion": 419_469_280, "ouroboros3d": 424_039_200, "videomv": 415_042_848}


@pytest.fixture(scope="module")
def facts() -> dict[str, torch.Tensor]:
    with np.load(DATA / "lgm_forms.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.mark.parametrize("form", sorted(PARAMETERS))
def test_keys_shapes_and_parameters_are_the_official_ones(form: str) -> None:
    file, name = ("lgm_keys.json", "lgm-big") if form == "videomv" else ("lgm_forms_keys.json", form)
    official = json.loads((DATA / file).read_text())[name]
    expected = {official_name(form, key): shape for key, shape in official.items()}
    with torch.device("meta"):
        model = build(PRESETS[form])
    assert len(expected) == len(official) and not key_differences(shapes(model.state_dict()), expected)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[form]


def test_a_release_of_gen3diffusion_loads_strictly_without_its_training_loss() -> None:
    model = reduced("gen3diffusion")
    official = json.loads((DATA / "lgm_forms_keys.json").read_text())["gen3diffusion"]
    names = {official_name("gen3diffusion", name): name for name in official}
    state = {names.get(key, key): value for key, value in model.state_dict().items()}
    assert not any("time_embed." in key or "emb_layers" in key for key in state)
    release = state | {"lpips_loss.scaling_layer.shift": torch.zeros(3)}
    found = reduced("gen3diffusion")
    torch.nn.init.zeros_(found.unet.time_embed[0].weight)
    load_strict(found, in_our_layout(release, load_ledger().entry("gen3diffusion-recon").stored.layout))
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("form", TOLD)
def test_networks_that_are_told_the_time_are_the_official_ones(
    facts: dict[str, torch.Tensor], form: str
) -> None:
    found = sparse(form_features(reduced(form), form, rows(form, REDUCED_PX, 2)))
    assert relative_error(found, facts[f"{form} features"]) < TOLERANCE


@pytest.mark.parametrize("form", TOLD)
def test_a_changed_network_is_noticed(facts: dict[str, torch.Tensor], form: str) -> None:
    model, images = reduced(form), rows(form, REDUCED_PX, 2)
    for name in ("unet.time_embed.0.weight", "unet.time_embed.2.bias",
                 "unet.down_blocks.2.nets.1.emb_layers.1.weight", "unet.mid_block.nets.0.emb_layers.1.bias",
                 "unet.up_blocks.0.nets.2.emb_layers.1.weight", "unet.conv_in.weight"):  # fmt: skip
        parameter = model.get_parameter(name)
        with torch.no_grad():
            kept = parameter.clone()
            parameter.mul_(1.01)
            found = sparse(form_features(model, form, images))
            assert relative_error(found, facts[f"{form} features"]) > TOLERANCE, name
            parameter.copy_(kept)


def test_ouroboros3d_sees_what_the_official_code_shows(facts: dict[str, torch.Tensor]) -> None:
    """Colours that were not clamped, every other view of eight, rays of its rig."""
    images = pictures("ouroboros3d", 8)[:, ::2]
    found, told = our_network_input("ouroboros3d", images, At(torch.tensor([0.7])))
    assert relative_error(sparse(found), facts["ouroboros3d input"]) < TOLERANCE
    assert torch.equal(told, torch.full((4,), 0.7))
    clamped, _ = our_network_input("ouroboros3d", images.clamp(0, 1), At(torch.tensor([0.7])))
    assert relative_error(sparse(clamped), facts["ouroboros3d input"]) > 0.01


def test_gen3diffusion_sees_what_the_official_loop_shows(facts: dict[str, torch.Tensor]) -> None:
    """Predicted and noisy views side by side, the image as a fifth view without rays, at timestep 0."""
    predicted, noisy = (pictures(f"gen3diffusion {name}", 4).clamp(0, 1) for name in ("predicted", "noisy"))
    image = pictures("gen3diffusion image", 1)[:, 0].clamp(0, 1)
    side, expected = predicted.shape[-1], facts["gen3diffusion input"]
    found, told = our_network_input(
        "gen3diffusion", predicted, At(torch.tensor([581]), noisy, image), size_px=side
    )
    assert relative_error(sparse(found), expected) < TOLERANCE and told.tolist() == [581, 581, 581, 581, 0]
    swapped, _ = our_network_input(
        "gen3diffusion", noisy, At(torch.tensor([581]), predicted, image), size_px=side
    )
    assert relative_error(sparse(swapped), expected) > 0.01


@pytest.mark.parametrize("flip", [False, True])
def test_rays_of_videomv_are_those_of_its_training_or_of_its_release(
    facts: dict[str, torch.Tensor], flip: bool
) -> None:
    found, _ = our_network_input("videomv", pictures("videomv", 4), None, release_flip=flip)
    names = ("videomv rays", "videomv rays of the release")
    assert relative_error(sparse(found[:, 3:]), facts[names[flip]]) < TOLERANCE
    assert relative_error(sparse(found[1:, 3:]), facts[names[not flip]][1:]) > 0.1
    assert relative_error(sparse(found[:1, 3:]), facts[names[not flip]][:1]) < TOLERANCE, "the first agrees"
