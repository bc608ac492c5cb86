"""Memory of post-training: every variant trains, and a second teacher costs what it weighs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from accelerate import Accelerator
from tiny_world import tiny_config, write_config

from aligncvc.bench import training_memory as memory
from aligncvc.errors import UserError
from aligncvc.scene.renderset import RenderSet


def test_a_copy_of_the_teacher_is_a_second_denoiser_and_lora_is_not(renders: Path) -> None:
    config, images = tiny_config(), RenderSet(renders, 32)
    sizes, trained = {}, {}
    for variant in ("both", "both_teacher_copy"):
        step, networks = memory.post_training(config, variant, images, Accelerator(cpu=True))
        sizes[variant], trained[variant] = memory.size_mb(networks), networks[0]
        assert step(0)["loss_soft"] > 0
    pretrained = memory.load_pretrained(config)[0]
    denoiser, generator = memory.size_mb([pretrained.unet]), memory.size_mb([pretrained])
    lora = memory.size_mb([trained["both"]]) - generator
    assert sizes["both_teacher_copy"] - sizes["both"] == pytest.approx(denoiser, rel=1e-6)
    assert 0 < lora < 0.2 * denoiser


def test_command_measures_apart_and_writes_a_table(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "VARIANTS", ("reconstructor", "both"))
    config = write_config(tmp_path / "tiny.yaml", batch=1)
    memory.memory(renders, tmp_path / "memory.csv", config)
    with (tmp_path / "memory.csv").open() as handle:
        rows = {row["variant"]: row for row in csv.DictReader(handle)}
    assert list(rows) == ["reconstructor", "both"] and list(rows["both"]) == [
        "variant", "peak_mb", "weights_mb", "hardware",
    ]  # fmt: skip
    weights = {name: float(row["weights_mb"]) for name, row in rows.items()}
    peaks = {name: float(row["peak_mb"]) for name, row in rows.items()}
    assert weights["reconstructor"] < weights["both"] and peaks["both"] > peaks["reconstructor"] > 0
    assert peaks["both"] > weights["both"]


def test_failures_are_one_sentence(renders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no variant 'none'"):
        memory.memory(renders, variant="none")
    with pytest.raises(UserError, match="the memory of soft could not be measured: no configuration at"):
        memory.measured_apart(tmp_path / "none.yaml", "soft", renders)
