"""Measuring: medians, ratios, what parts take, and what is said of a process that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import aligncvc.bench.__main__ as bench
from aligncvc.bench import measure
from aligncvc.bench.__main__ import PREFIXES, Args, benches, kept_rows
from aligncvc.errors import UserError
from aligncvc.files import write_json
from aligncvc.ownership import claim_files


def test_a_median_is_of_rounds_that_do_not_warm_up() -> None:
    now, order = [0.0], []
    pauses = {"a": iter([9.0, 0.25, 8.0, 1.0]), "b": iter([9.0, 2.0, 2.0, 2.0])}

    def wait(name: str) -> None:
        order.append(name)
        now[0] += next(pauses[name])

    runs = {
        "a": measure.timed(lambda: wait("a"), lambda: now[0]),
        "b": measure.timed(lambda: wait("b"), lambda: now[0]),
    }
    assert measure.medians(runs, 3) == {"a": 1.0, "b": 2.0}
    assert order == ["a", "b"] * 4


def test_a_row_has_its_ratio_and_its_digits() -> None:
    assert measure.row("a", 0.5, "s", 2.0, "note") == {
        "name": "a", "value": 0.5, "unit": "s", "reference": 2.0, "ratio": 4.0, "note": "note"
    }  # fmt: skip
    small = measure.row("b", 3.23584123e-7, "relative")
    assert small["value"] == 3.23584e-7 and small["ratio"] is None and "note" not in small


def test_processor_seconds_count_threads_and_children() -> None:
    before = measure.cpu_seconds()
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    assert measure.cpu_seconds() - before >= 0.3


def test_torch_has_its_threads_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), measure.torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_a_meter_keeps_every_visit() -> None:
    meter = measure.Meter("cpu")
    for part in ("a", "b", "a"):
        with meter(part):
            pass
    assert {part: len(visits) for part, visits in meter.visits.items()} == {"a": 2, "b": 1}
    assert sum(meter.visits["a"]) == pytest.approx(meter.seconds["a"]) and min(meter.peak_mb["a"]) > 10


def test_sizes_count_each_tensor_once() -> None:
    network = nn.Linear(256, 1024, bias=False)
    assert measure.size_mb([network, nn.Sequential(network), None]) == 1.0


def _fail(how: str) -> int:
    if how == "sentence":
        raise UserError("no room")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_work_apart_returns_or_says_why_not() -> None:
    assert measure.measured_apart(_fail, "not at all") != os.getpid()
    with pytest.raises(UserError, match="no room"):
        measure.measured_apart(_fail, "sentence")
    with pytest.raises(UserError, match="process of a measurement was ended"):
        measure.measured_apart(_fail, "killed")


def test_rows_of_other_benches_stay(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    assert kept_rows(out, ("demo",)) == []
    names = ["splat_a", "full_size_old", "demo_workflow", "ssim_16x256"]
    out.write_text(json.dumps([{"name": name} for name in names]))
    assert [row["name"] for row in kept_rows(out, ("full_size", "demo"))] == ["splat_a", "ssim_16x256"]


def test_every_bench_is_known_by_its_rows(smoke: Path) -> None:
    assert list(benches(Args(config=smoke))) == list(PREFIXES)


def test_rows_are_written_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    claim_files([out])
    write_json(out, [{"name": "splat_old"}, {"name": "demo_workflow"}])
    made = {name: lambda name=name: [measure.row(f"{name}_new", 1.0, "s")] for name in ("splat", "demo")}
    monkeypatch.setattr(bench, "benches", lambda _: made)
    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(out), "--only", "splat"])
    bench.main()
    rows = {row["name"]: row for row in json.loads(out.read_text())}
    assert list(rows) == ["demo_workflow", "splat_new"] and "torch" in rows["splat_new"]["hardware"]
    assert "splat_new" in capsys.readouterr().out
