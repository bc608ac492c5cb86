"""The full-size bench as a whole, on networks of a test's size: pieces, rows, what is left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aligncvc.bench import networks as bench
from aligncvc.bench.dry_step import align_job
from aligncvc.bench.measure import measured_apart
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError

PARTS: dict[str, Any] = {
    "precision": "float32",
    "generator_seconds": {"float32": 4.0, "bf16": 5.0},
    "network_calls": 2,
    "seconds": dict(zip(bench.PARTS, (1.0, 4.0, 3.0, 2.0, 0.5, 1.5), strict=True)),
    "peak_mb": dict.fromkeys(bench.PARTS, 100.0),
}


def whole(seconds: float, calls: int) -> dict[str, Any]:
    return {"precision": "bf16", "seconds": seconds, "seconds_by_part": {"generator": seconds},
            "peak_mb": 10.0, "network_calls": calls}  # fmt: skip


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    named = {r["name"]: r for r in rows}
    assert len(named) == len(rows) and all(name.startswith(bench.PREFIX) for name in named)
    return named


def test_parts_come_with_a_computed_number_that_says_so() -> None:
    rows = by_name(bench.rows_of({"parts": PARTS}))
    fifty, four = rows["full_size_50_steps_computed"], rows["full_size_4_steps_computed"]
    assert fifty["value"] == 1 + 50 * 4 + 3 + 2 + 0.5
    assert four["value"] == 1 + 4 * (4 + 3 + 2 + 0.5) + 3 * 1.5
    assert four["ratio"] == round(fifty["value"] / four["value"], 2)
    assert all("computed" in r["note"] and "not measured" in r["note"] for r in (fifty, four))
    assert rows["full_size_4_steps_network_calls"]["value"] == 8
    assert rows["full_size_4_steps_network_calls"]["reference"] == 100
    assert rows["full_size_4_steps_encode_calls"]["value"] == 3
    assert "full_size_4_steps" not in rows  # it would read as a measurement


def test_measured_samplers_replace_the_computed_number() -> None:
    rows = by_name(bench.rows_of({"parts": PARTS, "50 steps": whole(30.0, 100), "4 steps": whole(3.0, 8)}))
    assert not [name for name in rows if name.endswith("computed")]
    assert rows["full_size_4_steps"]["ratio"] == 10 and rows["full_size_4_steps"]["note"] == "bf16"
    assert rows["full_size_4_steps_network_calls"]["ratio"] == 12.5
    assert rows["full_size_50_steps_generator"]["value"] == 30 and rows["full_size_50_steps_memory"]
    one = by_name(bench.rows_of({"parts": PARTS, "4 steps": whole(3.0, 8)}))
    assert one["full_size_4_steps"]["ratio"] is None and "full_size_50_steps_computed" in one


def test_a_training_step_is_compared_with_the_plain_one_if_there_is_one() -> None:
    ours = {"seconds": 2.0, "peak_mb": 10.0, "note": "a"}
    plain = {"seconds": 6.0, "peak_mb": 40.0, "note": "b"}
    both = {"post-training step": ours, "plain post-training step": plain}
    rows = by_name(bench.rows_of(both))
    assert rows["full_size_align_step"]["ratio"] == 3 and rows["full_size_align_step_memory"]["ratio"] == 4
    assert rows["full_size_align_step_plain_memory"]["value"] == 40
    alone = by_name(bench.rows_of({"post-training step": ours}))
    assert len(alone) == 2 and all(r["ratio"] is None for r in alone.values())


def test_pieces_run_apart_and_one_that_fails_is_left_out_with_its_reason(
    smoke: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apart(work: Any, name: str, *arguments: Any) -> dict[str, Any]:
        if name != "parts":
            raise UserError(f"no {name}")
        return measured_apart(work, name, *arguments)

    monkeypatch.setattr(bench, "measured_apart", apart)
    rows = by_name(bench.bench_full_size(smoke, "parts"))
    assert rows["full_size_one_generator"]["value"] > 0
    assert capsys.readouterr().out.splitlines() == [
        f"full size, {name}: left out: no {name}"
        for name in ("post-training step", "plain post-training step")
    ]
    assert bench.bench_full_size(mode="off") == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's memory is not limited")
def test_a_piece_that_needs_more_memory_than_is_free_ends_with_a_sentence(plan: Plan) -> None:
    with pytest.raises(UserError, match=r"more memory than the 1\.0 GiB that are free"):
        measured_apart(_large_piece, plan)


def _large_piece(plan: Plan) -> dict[str, Any]:
    bench.psutil.virtual_memory = lambda: SimpleNamespace(available=2**30)
    bench.PIECES["parts"] = lambda *_: {"ones": torch.ones(2**30)}
    return bench.measure_piece("parts", plan, "float32")


def test_variants_differ_in_precision_checkpointing_and_the_teacher(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def watched(job: Any, **options: Any) -> dict[str, Any]:
        knobs = job.training
        asked.append((knobs.batch, knobs.bf16, knobs.gradient_checkpointing, options["teacher_copy"]))
        return {"seconds": 1.0, "peak_mb": 2.0, "weights_mb": 3.0, "finite": True, "discriminator": "lite0"}

    monkeypatch.setattr(bench, "dry_step", watched)
    notes = [
        bench.measure_step(align_job(plan), precision, plain)["note"]
        for precision, plain in (("bf16", False), ("float32", False), ("bf16", True))
    ]
    assert list(dict.fromkeys(asked)) == [
        (1, True, True, False), (1, False, True, False), (1, False, False, True)
    ]  # fmt: skip
    assert "bf16; gradient checkpointing; one denoiser" in notes[0] and "float32" in notes[1]
    assert "float32; no gradient checkpointing; teacher's denoiser twice" in notes[2]
