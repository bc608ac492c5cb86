"""Growth with the number of objects: the fit finds known powers, and the real stages are measured."""

from __future__ import annotations

import pytest

from aligncvc.bench.commands import Cost, command_cost
from aligncvc.bench.growth import COUNTS, STAGES, bench_growth, fitted, stage_rows
from aligncvc.errors import UserError


@pytest.mark.parametrize(("start", "each", "exponent"), [(8.0, 0.5, 1.0), (0.0, 2.0, 0.7), (20.0, 0.1, 1.4)])
def test_the_fit_finds_the_power_beyond_the_start(start: float, each: float, exponent: float) -> None:
    found = fitted(COUNTS, [start + each * n**exponent for n in COUNTS])
    assert found == pytest.approx((start, each, exponent), abs=0.01)


def test_what_does_not_grow_has_no_cost_by_the_object() -> None:
    start, each, exponent = fitted(COUNTS, [5.0] * 4)
    assert start + each == pytest.approx(5.0) and exponent < 1.0
    start, each, _ = fitted(COUNTS, [5.0, 5.1, 4.9, 5.0])
    assert each * 64 < 0.2


def test_rows_of_a_stage() -> None:
    costs = {n: Cost(99.0, 3.0 + n, 100.0 + n, "") for n in COUNTS}
    rows = {row["name"]: row for row in stage_rows("sample", costs, "cpu")}
    assert rows["growth_sample_16"]["value"] == 19.0 and rows["growth_sample_16_memory"]["value"] == 116.0
    exponent, memory = rows["growth_sample_exponent"], rows["growth_sample_memory"]
    assert exponent["value"] == pytest.approx(1.0, abs=0.002) and exponent["reference"] == 1.05
    assert exponent["note"] == "3 s + 1 s n^1"
    assert memory["value"] == pytest.approx(164 / 101, rel=1e-4) and memory["note"] == "64 objects to 1"
    few = stage_rows("sample", {1: costs[1]}, "wall")
    assert [(row["name"], row["value"]) for row in few] == [
        ("growth_sample_1", 99.0),
        ("growth_sample_1_memory", 101.0),
    ]


def test_the_real_stages_are_measured() -> None:
    """All but Blender's and the figures, which take longest; each works on what the one before left."""
    rows = bench_growth("cpu", (1,), ("sample", "evaluate", "table"))
    assert [row["name"] for row in rows][::2] == ["growth_sample_1", "growth_evaluate_1", "growth_table_1"]
    assert all(row["value"] > 1 for row in rows[::2]) and all(row["value"] > 100 for row in rows[1::2])
    assert STAGES[0] == "render" and STAGES[-1] == "figures"


def test_a_process_costs_its_own_memory_and_its_childrens_time() -> None:
    """This process has torch in memory; that of what it starts is counted from nothing."""
    bare = command_cost(["-c", "print('done')"], "a word")
    assert bare.said == "done\n" and 2 < bare.peak_mb < 60
    full = command_cost(["-c", "x = b'1' * (200 * 2**20)"], "a word")
    assert 200 < full.peak_mb < 260
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    assert 0.5 <= command_cost(["-c", child], "a word").cpu_seconds < 5
    with pytest.raises(UserError, match="planning failed while it was measured: this and that"):
        command_cost(["-c", "import sys; sys.exit('this\\nand that')"], "planning")
