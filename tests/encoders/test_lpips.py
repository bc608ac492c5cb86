"""LPIPS gives the numbers its authors print, and leaves no trace in the interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.encoders.lpips import load_lpips
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.weights import load_numpy_pickle
from aligncvc.scene.views import load_png

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module", params=["alex", "vgg"])
def named(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    return request.param, load_lpips(request.param)


def example(name: str) -> Tensor:
    return load_png(DATA / f"ex_{name}.png")[None, :3] * 2 - 1


def test_golden_values_of_the_authors_example_pair(named: tuple[str, nn.Module]) -> None:
    # README of the metric: 0.722 and 0.138 for alex. Four decimals: measured with the official package.
    name, lpips = named
    expected = {"alex": (0.7219, 0.1376), "vgg": (0.5686, 0.4217)}[name]
    found = [float(lpips(example("ref"), example(p))) for p in ("p0", "p1")]
    assert found == pytest.approx(expected, abs=6e-5)


def test_identity_symmetry_and_batches(named: tuple[str, nn.Module]) -> None:
    _, lpips = named
    a, b = example("ref"), example("p0")
    assert float(lpips(a, a)) == 0
    assert float(lpips(a, b)) == pytest.approx(float(lpips(b, a)), rel=1e-6)
    both = lpips(torch.cat([a, a]), torch.cat([b, a]))
    assert both.shape == (2, 1, 1, 1)
    assert float(both[0]) == pytest.approx(float(lpips(a, b)), rel=1e-5) and float(both[1]) == 0


def test_heads_of_both_packages_are_equal(named: tuple[str, nn.Module]) -> None:
    name, lpips = named
    arrays = load_numpy_pickle(resolve(f"lpips-{name}-trunk"))
    for i, head in enumerate(lpips.lins):
        other = torch.from_numpy(arrays[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].copy()).permute(3, 2, 0, 1)
        assert torch.equal(head.model[1].weight, other)


def test_frozen_and_differentiable(named: tuple[str, nn.Module]) -> None:
    _, lpips = named
    assert not lpips.training and not any(p.requires_grad for p in lpips.parameters())
    image = example("p1").requires_grad_()
    (gradient,) = torch.autograd.grad(lpips(image, example("ref")).sum(), image)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


def test_it_is_the_genuine_class_and_the_stub_is_gone() -> None:
    code = """
import importlib.util, sys
genuine = importlib.util.find_spec("torchvision") is not None
from aligncvc.models.encoders.lpips import load_lpips
model = load_lpips("alex")
import lpips
assert isinstance(model, lpips.LPIPS)
assert not [name for name in sys.modules if name.startswith("torchvision")], "the stub leaked"
assert (importlib.util.find_spec("torchvision") is not None) == genuine
load_lpips("vgg")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_nets_are_refused() -> None:
    with pytest.raises(UserError, match="not for 'squeeze'"):
        load_lpips("squeeze")  # type: ignore[arg-type]
