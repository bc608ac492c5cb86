"""The average of a network's weights along a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Ema:
    """Exponential moving average of named parameters, in float32 on the parameters' device.

    The decay warms up as (1 + n) / (10 + n), n the number of updates, so that short runs are not dominated by
    the start. from_first: the average begins with the parameters after the first update, and n counts from
    there; without it the weights before training are part of the average.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float, from_first: bool = False) -> None:
        self.parameters = dict(parameters)
        self.decay, self.from_first = decay, from_first
        self.updates = 0
        self.shadow = {name: p.detach().clone().float() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the parameters' current values."""
        n = self.updates if self.from_first else self.updates + 1
        keep = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        self.updates += 1
        for name, parameter in self.parameters.items():
            average, value = self.shadow[name], parameter.detach().float()
            if self.from_first:  # rounds otherwise than lerp_: the networks that ship were averaged so
                average.sub_((1 - keep) * (average - value))
            else:
                average.lerp_(value, 1 - keep)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold their averages inside, for scoring."""
        now = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.apply()
        try:
            yield
        finally:
            _copy(now, self.parameters)

    def apply(self) -> None:
        """Give the parameters their averages, for good."""
        _copy(self.shadow, self.parameters)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["shadow"].keys() != self.shadow.keys():
            raise ValueError("the averages belong to other parameters")
        self.updates = state["updates"]
        _copy(state["shadow"], self.shadow)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
