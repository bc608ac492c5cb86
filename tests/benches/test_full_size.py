"""The full-size bench as a whole, on networks of a test's size: pieces, rows, what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_world import write_config

from aligncvc.bench import full_size as bench
from aligncvc.bench import sampling
from aligncvc.errors import UserError

PARTS: dict[str, Any] = {
    "precision": "float32",
    "generator_seconds": {"float32": 4.0, "bf16": 5.0},
    "network_calls": 2,
    "seconds": dict(zip(sampling.PARTS, (1.0, 4.0, 3.0, 2.0, 0.5, 1.5), strict=True)),
    "peak_mb": dict.fromkeys(sampling.PARTS, 100.0),
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


def test_pieces_run_apart_and_a_lack_of_memory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = write_config(tmp_path / "tiny.yaml", batch=1), tmp_path / "bench.json"
    kept = {"name": "image_to_gaussians_4_steps", "value": 1.0}
    out.write_text(json.dumps([kept, {"name": "full_size_old", "value": 2.0}]))
    needs = iter([0, 2**80])
    piece = bench.Piece(lambda *_: next(needs), bench.PIECES["parts"].measure)
    monkeypatch.setattr(bench, "PIECES", {"parts": piece, "4 steps": piece})
    bench.full_size(out, config, "whole")
    rows = json.loads(out.read_text())
    assert rows[0] == kept and "full_size_old" not in {r["name"] for r in rows}
    assert by_name(rows[1:])["full_size_one_generator"]["value"] >= 0
    assert all("torch" in r["hardware"] for r in rows[1:])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("full size, 4 steps: left out, since it needs about 1125899906842624.0 GiB")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo warning >&2; echo 'error: no room' >&2; exit 2", "it failed: no room"),
        ("exit 3", "it failed: its process ended with 3"),
        ("kill -9 $$", "its process was ended by signal 9"),
    ],
)
def test_a_piece_that_fails_is_left_out_with_its_reason(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(bench.sys, "executable", str(program))
    monkeypatch.setitem(bench.PIECES, "parts", bench.Piece(lambda *_: 0, lambda *_: {}))
    said = bench.run_apart("parts", write_config(tmp_path / "tiny.yaml"), "float32")
    assert said == f"full size, parts: left out, since {reason}"


def test_off_measures_nothing_and_unknown_pieces_are_refused(tmp_path: Path) -> None:
    assert bench.bench_full_size(mode="off") == ([], [])
    with pytest.raises(UserError, match="there is no piece 'all'"):
        bench.full_size(tmp_path / "bench.json", piece="all")
    assert bench.default_mode() == ("whole" if torch.cuda.is_available() else "parts")
