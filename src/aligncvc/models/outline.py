"""Parameters and keys of the ledger's networks, built on the meta device: nothing is allocated or read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from aligncvc.errors import UserError
from aligncvc.models.encoders.clip import ClipImageEncoder
from aligncvc.models.encoders.dists import Dists
from aligncvc.models.encoders.inception import FidInception
from aligncvc.models.encoders.lite0 import Lite0
from aligncvc.models.encoders.lite2 import Lite2
from aligncvc.models.encoders.lpips import random_lpips
from aligncvc.models.kinds import complete, kind_module
from aligncvc.models.ledger.ledger import Model

SIZE_PX = 256
"""Side of the views where a generator's settings name none; it changes no weight."""


@dataclass(frozen=True)
class Part:
    """One part of a network and how large it is."""

    name: str
    parameters: int
    keys: int

    def __str__(self) -> str:
        few = self.parameters < 100_000
        count = f"{self.parameters:,}" if few else f"{self.parameters / 1e6:.2f} M"
        return f"{self.name}: {count} parameters in {self.keys} keys"


def _lpips_parts(net: Literal["alex", "vgg"]) -> dict[str, nn.Module]:
    model = random_lpips(net)
    return {"trunk": model.net, "heads": model.lins}


ENCODERS: dict[str, Callable[..., dict[str, nn.Module]]] = {
    "clip": lambda **vision: {"image tower": ClipImageEncoder(**vision).tower},
    "lite0": lambda: {"network": Lite0()},
    "lite2": lambda: {"network": Lite2()},
    "lpips": _lpips_parts,
    "dists": lambda: {"network": Dists()},
    "inception": lambda: {"network": FidInception()},
}
"""Kind of a frozen encoder -> its modules by part, from the rest of its ledger entry's `network`."""


def model_modules(model: Model) -> dict[str, nn.Module]:
    """Parts of a ledger's model by name, as its weights are filled in."""
    kind, network = complete(model.role, model.network, f"the network of {model.what}")
    build = kind_module(model.role, kind, "network").build
    if model.role == "reconstructors":
        return {name: child for name, child in build(network).named_children() if len(child.state_dict())}
    return build(network, SIZE_PX).parts()


def outline(modules: Callable[[], Mapping[str, nn.Module]]) -> list[Part]:
    """Sizes of the parts that `modules` builds, without memory for their weights."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # frozen encoders load weights that nothing can hold here
        parts = modules()
    return [
        Part(part, sum(p.numel() for p in module.parameters()), len(module.state_dict()))
        for part, module in parts.items()
    ]


def encoder_outline(network: Mapping[str, Any]) -> list[Part]:
    """Sizes of an encoder of the ledger. Raises UserError for one that is not built here."""
    given = dict(network)
    kind = given.pop("kind", None)
    if kind not in ENCODERS:
        raise UserError(
            f"the ledger names an encoder {kind!r} that is not built here; known: {sorted(ENCODERS)}"
        )
    return outline(lambda: ENCODERS[kind](**given))
