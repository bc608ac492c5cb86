"""The two courses of the learning rate: alignment's (no plateau) and pretraining's (may be made longer)."""

from __future__ import annotations

import math

WARMUP_STEPS = 100
DECAY_FROM = 0.5
"""Share of pretraining's steps after which the rate falls."""
FINAL_SHARE = 0.02
"""Of the peak, at the last step of pretraining."""


def cosine(progress: float, final: float) -> float:
    """From 1 at progress 0 to `final` at progress 1."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def rate_factor(step: int, steps: int, warmup: int, final: float) -> float:
    """What the learning rates are multiplied by at `step` of `steps`: linear warm-up, cosine to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    return cosine(min(1.0, (step - warmup) / max(1, steps - 1 - warmup)), final)


def decay_progress(step: int, steps: int) -> float:
    """Of pretraining: 0 on the plateau, then linearly to 1 at the last step."""
    return max(0.0, (step / steps - DECAY_FROM) / (1 - DECAY_FROM))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, plateau, then a cosine to 2 % of the peak.

    The rate stays at its peak until DECAY_FROM of the steps, so that a run may be made longer while it still
    is on the plateau and end exactly as if it had been asked for the longer run at once.
    """
    warm = min(WARMUP_STEPS, max(1, steps // 10))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * cosine(decay_progress(step, steps), FINAL_SHARE)
