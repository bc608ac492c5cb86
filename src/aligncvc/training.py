"""What every training run needs, in pretraining and in alignment: rates, averages, a resumable state.

Random numbers are functions of the step (named streams), so the state is weights, their averages, the
optimisers, the step, and how far the metrics file had been written. It is one file, replaced atomically:
a process killed at any point leaves the last complete state.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligncvc.files import atomic_path
from aligncvc.ownership import remove

WARMUP_STEPS = 100
DECAY_FROM = 0.5
"""Share of pretraining's steps after which the rate falls."""
FINAL_SHARE = 0.02
"""Of the peak, at the last step of pretraining."""
STATE_FILES = ("state.pt", "metrics.jsonl")


def cosine(progress: float, final: float) -> float:
    """From 1 at progress 0 to `final` at progress 1."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def rate_factor(step: int, steps: int, warmup: int, final: float) -> float:
    """Of alignment's learning rates at `step` of `steps`: linear warm-up, cosine to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    return cosine(min(1.0, (step - warmup) / max(1, steps - 1 - warmup)), final)


def decay_progress(step: int, steps: int) -> float:
    """Of pretraining: 0 on the plateau, then linearly to 1 at the last step."""
    return max(0.0, (step / steps - DECAY_FROM) / (1 - DECAY_FROM))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Pretraining's: linear warm-up, a plateau in which a run may be made longer, a cosine to 2 %."""
    warm = min(WARMUP_STEPS, max(1, steps // 10))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * cosine(decay_progress(step, steps), FINAL_SHARE)


class NamedTensors:
    """Named tensors (the LoRA inside a larger network, averages) with the interface of a module's state."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def state_dict(self) -> dict[str, Any]:
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state.keys() != self.tensors.keys():
            raise ValueError("the state belongs to other parameters")
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])


class Ema:
    """Exponential moving average of named parameters, in float32 on the parameters' device.

    The decay warms up as (1 + n) / (10 + n), n the number of updates, so that short runs are not dominated by
    the start. from_first: the average begins with the parameters after the first update, and n counts from
    there; without it the weights before training are part of the average.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float, from_first: bool = False) -> None:
        self.parameters = NamedTensors(parameters)
        self.decay, self.from_first = decay, from_first
        self.updates = 0
        self.shadow = {name: p.detach().clone().float() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        n = self.updates if self.from_first else self.updates + 1
        keep = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        self.updates += 1
        for name, parameter in self.parameters.tensors.items():
            average, value = self.shadow[name], parameter.detach().float()
            if self.from_first:  # rounds otherwise than lerp_: the networks that ship were averaged so
                average.sub_((1 - keep) * (average - value))
            else:
                average.lerp_(value, 1 - keep)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold their averages inside, for scoring."""
        now = {name: p.clone() for name, p in self.parameters.state_dict().items()}
        self.apply()
        try:
            yield
        finally:
            self.parameters.load_state_dict(now)

    def apply(self) -> None:
        self.parameters.load_state_dict(self.shadow)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        NamedTensors(self.shadow).load_state_dict(state["shadow"])
        self.updates = state["updates"]


class RunState:
    """One state file in a folder, and the metrics written so far.

    key: a hash of all that the run's first steps depend on, or a function of their number. parts: objects
    with state_dict and load_state_dict. metrics: the JSON lines; metrics.jsonl in the folder by default.
    writes: whether this process does; of several that train together, one. All of them restore and save.
    """

    def __init__(
        self,
        folder: Path,
        key: str | Callable[[int], str],
        parts: Mapping[str, Any],
        metrics: Path | None = None,
        *,
        writes: bool = True,
    ) -> None:
        self.folder, self.parts, self.writes = folder, parts, writes
        self.key_at = key if callable(key) else lambda step: key
        self.file, self.metrics = folder / STATE_FILES[0], metrics or folder / STATE_FILES[1]

    def restore(self) -> tuple[int, str | None]:
        """Load a matching state, cut the metrics back to it; (next step, why a state was not used)."""
        state, remark = self._read()
        for name, part in self.parts.items() if state else ():
            part.load_state_dict(state["parts"][name])
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.metrics.open("ab") as handle:
                handle.truncate(state.get("metrics_bytes", 0))
        return state.get("step", 0), remark

    def _read(self) -> tuple[dict[str, Any], str | None]:
        """The state of this run, empty if there is none, and why one that lies there was not used."""
        if not self.file.exists():
            return {}, None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            if state["key"] == self.key_at(state["step"]):
                return state, None
            why = "belongs to another configuration, code or data and is ignored"
        except (OSError, RuntimeError, KeyError, EOFError, TypeError, pickle.UnpicklingError) as error:
            why = f"is not readable ({type(error).__name__})"
        return {}, f"the state in {self.folder} {why}; starting from step 0"

    def save(self, step: int) -> None:
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        if not self.writes:
            return
        state = {
            "key": self.key_at(step),
            "step": step,
            "metrics_bytes": self.metrics.stat().st_size if self.metrics.exists() else 0,
            "parts": parts,
        }
        with atomic_path(self.file) as temporary:
            torch.save(state, temporary)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the metrics; it reaches the disk before a later state refers to it."""
        if not self.writes:
            return
        with self.metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def discard(self) -> None:
        """Remove the state: a finished run leaves its results, so that a rerun trains anew."""
        for path in (self.file, self.metrics):
            remove(path)
        with contextlib.suppress(OSError):  # something of the user's lies in it
            self.folder.rmdir()
