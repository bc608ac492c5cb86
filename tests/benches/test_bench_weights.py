"""Random weights made quickly, and what a backward pass keeps."""

from __future__ import annotations

import pytest
import torch
from tiny_world import tiny_config
from torch import nn

from aligncvc.bench.activations import Saved, step_activations
from aligncvc.bench.dry_step import random_weights
from aligncvc.bench.weights import QuickInit, meta_pair, numbers_of, random_pair
from aligncvc.config.sections import load_config
from aligncvc.files import PROJECT_ROOT


def test_quick_initialisers_keep_scales_and_leave_small_tensors_alone() -> None:
    torch.manual_seed(0)
    wanted = nn.Linear(300, 200)
    torch.manual_seed(0)
    with QuickInit(block=500):
        quick = nn.Linear(300, 200)
        normal = nn.init.normal_(torch.empty(20, 100), std=0.02)
    assert torch.equal(quick.weight.flatten()[:500], quick.weight.flatten()[500:1000])
    assert float(quick.weight.detach().std()) == pytest.approx(float(wanted.weight.detach().std()), rel=0.1)
    assert float(normal.std()) == pytest.approx(0.02, rel=0.1)
    torch.manual_seed(0)
    with QuickInit():
        same = nn.Linear(300, 200)
    assert torch.equal(same.weight, wanted.weight) and torch.equal(same.bias, wanted.bias)
    assert quick.weight.requires_grad and quick.weight.is_leaf


def test_papers_networks_have_their_published_sizes_and_settings() -> None:
    config = load_config(PROJECT_ROOT / "config/paper.yaml")
    generator, reconstructor = meta_pair(config)
    assert numbers_of(generator.unet) == 910_790_404
    assert numbers_of(reconstructor) / 1e6 == pytest.approx(415.04, abs=0.005)
    bare = random_weights(config)
    assert bare.recon.weights is None and bare.mvg.image_encoder_weights is None
    assert bare.recon.world == "first-camera" and bare.mvg.camera_table == "wonder3d-plus"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_pair_is_held_in_its_precision(precision: str) -> None:
    generator, reconstructor = random_pair(tiny_config(), torch.device("cpu"), precision)  # type: ignore[arg-type]
    wanted = {"float32": torch.float32, "bf16": torch.bfloat16}[precision]
    for network in (generator, reconstructor):
        assert {p.dtype for p in network.parameters()} == {wanted}
        assert not any(p.requires_grad for p in network.parameters())


def test_saved_tensors_are_counted_once_and_without_parameters() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 4, bias=False))
        x = torch.empty(10, 8)
        saved = Saved([network])
        with saved.hooks():
            network(x)
    # the input, and the sigmoid's output, which the second layer keeps too
    assert saved.bytes == 4 * (10 * 8 + 10 * 16)


def test_activations_grow_with_the_views_and_hold_the_largest_block() -> None:
    config = tiny_config()
    total, block = step_activations(config)
    assert 0 < block < total
    half = config.render.model_copy(update={"rig_views": 2})
    fewer, smaller = step_activations(config.model_copy(update={"render": half}))
    assert 0.45 < fewer / total < 0.6 and smaller < block
