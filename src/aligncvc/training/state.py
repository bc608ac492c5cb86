"""What a training run needs to continue as if it had never been stopped.

Random numbers are functions of the step (named streams), so the state is weights, their averages, the
optimisers, the step, and how far the metrics file had been written. It is one file, replaced atomically:
a process killed at any point leaves the last complete state.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aligncvc.files import atomic_path
from aligncvc.ownership import remove

STATE_FILES = ("state.pt", "metrics.jsonl")


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
    """One state file in a folder, and the metrics written so far."""

    def __init__(
        self,
        folder: Path,
        key: str | Callable[[int], str],
        parts: Mapping[str, Any],
        metrics: Path | None = None,
    ) -> None:
        """
        Args:
            folder: of this run alone.
            key: a hash of everything that the run's first steps depend on; a function of their number if
                more counts the further the run has come.
            parts: objects with state_dict and load_state_dict.
            metrics: the JSON lines; metrics.jsonl in the folder by default.
        """
        self.folder, self.parts = folder, parts
        self.key_at = key if callable(key) else lambda step: key
        self.file, self.metrics = folder / STATE_FILES[0], metrics or folder / STATE_FILES[1]

    @property
    def key(self) -> str:
        """The key of a run at its start."""
        return self.key_at(0)

    def restore(self) -> tuple[int, str | None]:
        """Load a matching state; return (next step, a sentence about a state that was not used, or None).

        The metrics file is cut back to what the state knows of, so no step is listed twice.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        state, remark = self._read()
        for name, part in self.parts.items() if state else ():
            part.load_state_dict(state["parts"][name])
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
        """Write the state after `step` completed steps."""
        state = {
            "key": self.key_at(step),
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
