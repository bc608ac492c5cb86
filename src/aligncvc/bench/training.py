"""One step of post-training at full size: as it is here, and plain."""

from __future__ import annotations

import statistics
from typing import Any, Literal

import torch

from aligncvc.bench.activations import step_activations
from aligncvc.bench.dry_step import dry_step
from aligncvc.bench.sampling import HEADROOM
from aligncvc.bench.weights import Precision, meta_pair, numbers_of
from aligncvc.config.sections import Config

Variant = Literal["ours", "plain"]
"""ours: one denoiser for student and teacher, gradient checkpointing, bfloat16 where that is faster.
plain: in float32 without checkpointing, the teacher's denoiser a second copy."""

RUN = "both"
TRAINED_COPIES = 5
"""The reconstructor's weights, gradients, two moments and average, in float32."""


def variant_config(config: Config, variant: Variant, precision: Precision) -> Config:
    """The configuration of a step at batch 1."""
    ours = variant == "ours"
    changes = {"batch": 1, "bf16": ours and precision == "bf16", "gradient_checkpointing": ours}
    return config.model_copy(update={"align": config.align.model_copy(update=changes)})


def memory_needed(config: Config, variant: Variant) -> int:
    """Bytes that one step takes, an estimate: weights and their training state, activations in float32."""
    generator, reconstructor = meta_pair(config)
    numbers = numbers_of(generator) + TRAINED_COPIES * numbers_of(reconstructor)
    kept, largest_block = step_activations(config)
    if variant == "ours":
        return 4 * numbers + largest_block + HEADROOM
    return 4 * (numbers + numbers_of(generator.unet)) + kept + HEADROOM


def measure_step(config: Config, variant: Variant, precision: Precision) -> dict[str, Any]:
    """seconds, peak_mb, weights_mb, finite and a note of one step of the run `both` on a synthetic object.

    On CUDA the mean over the unrolled steps k = 1..4, each after a step that warms up; on a CPU k = 1, the
    shortest, once.
    """
    cuda = torch.cuda.is_available()
    settings, unrolled = variant_config(config, variant, precision), range(1, 5 if cuda else 2)
    found = [
        dry_step(settings, RUN, k=k, steps=2 if cuda else 1, teacher_copy=variant == "plain")
        for k in unrolled
    ]
    facts = [
        "mean of k = 1 to 4" if cuda else "k = 1",
        "bf16" if settings.align.bf16 else "float32",
        "gradient checkpointing" if settings.align.gradient_checkpointing else "no gradient checkpointing",
        "teacher's denoiser twice" if variant == "plain" else "one denoiser",
        f"discriminator on {found[0]['discriminator']}",
    ]
    return {
        "seconds": statistics.mean(f["seconds"] for f in found),
        "peak_mb": max(f["peak_mb"] for f in found),
        "weights_mb": found[0]["weights_mb"],
        "finite": all(f["finite"] for f in found),
        "note": "; ".join(facts),
    }
