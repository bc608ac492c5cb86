"""A step of post-training in both variants: what differs, and how much memory is asked for."""

from __future__ import annotations

import pytest
from tiny_world import tiny_config

from aligncvc.bench import training
from aligncvc.bench.activations import step_activations
from aligncvc.bench.weights import meta_pair, numbers_of


def test_variants_differ_in_precision_checkpointing_and_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def watched(config: object, run: str, **options: object) -> dict[str, object]:
        asked.append((config.align, run, options))  # type: ignore[attr-defined]
        return {"seconds": 1.0, "peak_mb": 2.0, "weights_mb": 3.0, "finite": True, "discriminator": "lite0"}

    monkeypatch.setattr(training, "dry_step", watched)
    notes = [
        training.measure_step(tiny_config(bf16=True), v, p)["note"]  # type: ignore[arg-type]
        for v, p in (("ours", "bf16"), ("ours", "float32"), ("plain", "bf16"))
    ]
    switches = [(a.batch, a.bf16, a.gradient_checkpointing, o["teacher_copy"]) for a, _, o in asked]
    first = {s: i for i, s in reversed(list(enumerate(switches)))}
    assert list(sorted(first, key=first.__getitem__)) == [
        (1, True, True, False), (1, False, True, False), (1, False, False, True)
    ]  # fmt: skip
    assert {run for _, run, _ in asked} == {"both"}
    assert "bf16; gradient checkpointing; one denoiser" in notes[0] and "float32" in notes[1]
    assert "float32; no gradient checkpointing; teacher's denoiser twice" in notes[2]


def test_a_real_step_is_measured_and_a_second_teacher_weighs_a_denoiser() -> None:
    config = tiny_config()
    ours, plain = (training.measure_step(config, v, "float32") for v in ("ours", "plain"))  # type: ignore[arg-type]
    assert ours["finite"] and plain["finite"] and min(ours["seconds"], ours["peak_mb"]) > 0
    denoiser = 4 * numbers_of(meta_pair(config)[0].unet) / 2**20
    assert plain["weights_mb"] - ours["weights_mb"] == pytest.approx(denoiser, abs=0.2)


def test_memory_needed_counts_the_second_teacher_and_what_is_not_recomputed() -> None:
    config = tiny_config()
    ours, plain = (training.memory_needed(config, v) for v in ("ours", "plain"))  # type: ignore[arg-type]
    kept, block = step_activations(config)
    assert plain - ours == 4 * numbers_of(meta_pair(config)[0].unet) + kept - block
    assert ours > 5 * 4 * numbers_of(meta_pair(config)[1])
