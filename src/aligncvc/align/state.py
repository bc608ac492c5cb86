"""What a post-training run needs to continue as if it had never been stopped.

Random numbers are functions of the step (named streams), so the state is weights, their averages, the
optimisers, the step, and how far the metrics file had been written. It is one file, replaced atomically:
a process killed at any point leaves the last complete state.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aligncvc.files import atomic_path
from aligncvc.ownership import remove

STATE_FILES = ("state.pt", "metrics.jsonl")


class Ema:
    """Exponential moving average of named parameters, in float32 on the parameters' device.

    The decay warms up as (1 + n) / (10 + n), so that short runs are not dominated by the start.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.updates = 0
        self.shadow = {name: p.detach().clone().float() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the parameters' current values."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, parameter in self.parameters.items():
            self.shadow[name].lerp_(parameter.detach().float(), 1 - keep)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["shadow"].keys() != self.shadow.keys():
            raise ValueError("the averages belong to other parameters")
        self.updates = state["updates"]
        for name, value in state["shadow"].items():
            self.shadow[name].copy_(value)


class ParameterState:
    """Gives a plain mapping of parameters the state_dict interface (the LoRA inside a larger network)."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.parameters.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if state.keys() != self.parameters.keys():
            raise ValueError("the state belongs to other parameters")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state[name])


class RunState:
    """The folder `<out>/state/`: one state file, and the metrics written so far."""

    def __init__(self, folder: Path, key: str, parts: Mapping[str, Any]) -> None:
        """key: a hash of everything the run depends on. parts: objects with (load_)state_dict."""
        self.folder, self.key, self.parts = folder, key, parts
        self.file, self.metrics = (folder / name for name in STATE_FILES)

    def restore(self) -> tuple[int, str | None]:
        """Load a matching state; return (next step, a sentence about a state that was not used, or None).

        The metrics file is cut back to what the state knows of, so no step is listed twice.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            self._cut_metrics(0)
            return 0, None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            matches = state["key"] == self.key
        except (OSError, RuntimeError, KeyError, EOFError, TypeError, pickle.UnpicklingError) as error:
            self._cut_metrics(0)
            return (
                0,
                f"the state in {self.folder} is not readable ({type(error).__name__}); starting from step 0",
            )
        if not matches:
            self._cut_metrics(0)
            return 0, (
                f"the state in {self.folder} belongs to another configuration, code or data and is "
                "ignored; starting from step 0"
            )
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self._cut_metrics(state["metrics_bytes"])
        return state["step"], None

    def save(self, step: int) -> None:
        """Write the state after `step` completed steps."""
        state = {
            "key": self.key,
            "step": step,
            "metrics_bytes": self.metrics.stat().st_size if self.metrics.exists() else 0,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        with atomic_path(self.file) as temporary:
            torch.save(state, temporary)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the metrics; it reaches the disk before a later state refers to it."""
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

    def _cut_metrics(self, size: int) -> None:
        with self.metrics.open("ab") as handle:
            handle.truncate(size)
