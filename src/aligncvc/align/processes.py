"""What several processes of one training run share: gradients, and what they log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator
from torch import nn

MAX_GRAD_NORM = 1.0
"""Each network's gradient is clipped to this norm on its own, so neither loss drowns the other network."""


def average_and_clip(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> float:
    """Average gradients over processes, clip their norm; return the norm before clipping."""
    chosen = [p for p in parameters if p.grad is not None]
    if accelerator.num_processes > 1:
        for parameter in chosen:
            parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
    return float(nn.utils.clip_grad_norm_(chosen, MAX_GRAD_NORM)) if chosen else 0.0


def averaged_record(accelerator: Accelerator, record: Mapping[str, float]) -> dict[str, float]:
    """A step's record with its real numbers averaged over processes, each of which saw other objects.

    Whole numbers (the step, k) are the same everywhere and stay as they are.
    """
    if accelerator.num_processes == 1:
        return dict(record)
    names = [name for name, value in record.items() if isinstance(value, float)]
    own = torch.tensor([record[name] for name in names], dtype=torch.float64, device=accelerator.device)
    mean = accelerator.reduce(own, reduction="mean")
    return dict(record) | dict(zip(names, mean.tolist(), strict=True))
