"""The rule that ranks controls: records whose verdict is known beforehand."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from aligncvc.errors import UserError, cli
from aligncvc.evaluate.discrimination import main
from aligncvc.evaluate.ranking import Ranking, as_csv, as_markdown, rank_controls, require
from aligncvc.evaluate.records import Record, write_records
from aligncvc.evaluate.scores import Scores

OBJECTS = 12
LEVELS = {"gt": 30.0, "jitter": 20.0, "shuffled": 10.0, "copy": 28.0}

Level = Callable[[str, int, np.random.Generator], float]


def records(
    metric: str, level: Level, controls: tuple[str, ...] = tuple(LEVELS), step: int = 1
) -> list[Record]:
    """One mean over views for each control and object; level(control, object, generator) is its value."""
    rng = np.random.default_rng(0)
    return [
        Record(
            f"control:{c}", "control", "eval", f"o{o}", 0, -1, step, metric, level(c, o, rng), "h", 1.0, 1.0
        )
        for c in controls
        for o in range(OBJECTS)
    ]


def good(control: str, thing: int, rng: np.random.Generator) -> float:
    """The right order, whatever differs between objects."""
    return LEVELS[control] + 5 * math.sin(thing) + rng.normal(0, 0.5)


def ranked(found: list[Record]) -> list[Ranking]:
    return rank_controls(Scores(found, 0))


def verdict(found: list[Record], metric: str) -> str:
    return {j.metric.name: j.discriminates for j in ranked(found)}[metric]


def test_a_metric_that_holds_the_order_discriminates_and_its_gaps_are_the_differences() -> None:
    (found,) = ranked(records("residual_psnr", good))
    assert found.discriminates == "yes" and found.objects == OBJECTS
    assert found.gt_over_jitter.centre == pytest.approx(10, abs=0.6)
    assert found.jitter_over_shuffled.lo < 10 < found.jitter_over_shuffled.hi
    assert found.means["gt"] == pytest.approx(30 + 5 * np.mean(np.sin(range(OBJECTS))), abs=0.6)
    assert "copy" in found.means


def test_lower_is_better_turns_the_order() -> None:
    falling = records("residual_mae", lambda c, o, r: -good(c, o, r))
    assert verdict(falling, "residual_mae") == "yes"
    assert verdict(records("residual_mae", good), "residual_mae") == "no"


@pytest.mark.parametrize("swapped", [("gt", "jitter"), ("jitter", "shuffled"), ("gt", "shuffled")])
def test_a_wrong_order_of_any_two_does_not(swapped: tuple[str, str]) -> None:
    other = dict(zip(swapped, reversed(swapped), strict=True))
    found = records("split_ssim", lambda c, o, r: good(other.get(c, c), o, r))
    assert verdict(found, "split_ssim") == "no"


def test_an_order_within_the_noise_does_not() -> None:
    level = {"gt": 20.1, "jitter": 20.0, "shuffled": 10.0, "copy": 20.0}
    (found,) = ranked(records("heldout_psnr", lambda c, o, r: level[c] + r.normal(0, 3)))
    assert found.discriminates == "no"
    assert found.gt_over_jitter.lo < 0 < found.gt_over_jitter.hi
    assert found.jitter_over_shuffled.lo > 0


def test_differences_are_paired_by_object() -> None:
    # Objects differ by far more than the controls do: unpaired, nothing could be told.
    level = {"gt": 0.3, "jitter": 0.2, "shuffled": 0.1, "copy": 0.0}
    found = records("heldout_psnr", lambda c, o, r: level[c] + 10 * o + r.normal(0, 0.01))
    assert verdict(found, "heldout_psnr") == "yes"


def test_deltas_are_ranked_by_their_distance_from_zero() -> None:
    size = {"gt": 0.1, "jitter": 1.0, "shuffled": 3.0, "copy": 0.0}
    either = records("delta_psnr", lambda c, o, r: (-1) ** o * (size[c] + 0.01 * o))
    (found,) = ranked(either)
    assert found.discriminates == "yes"
    assert found.gt_over_jitter.centre == pytest.approx(0.9)
    assert found.means["shuffled"] == pytest.approx(-0.01 * 0.5), "the table shows the plain mean"
    rising = records("delta_psnr", lambda c, o, r: -size[c] + 10 + 0.01 * o)  # gt is farthest from zero
    assert verdict(rising, "delta_psnr") == "no"


def test_counts_without_a_direction_are_not_ranked() -> None:
    both = records("matches", good) + records("tsed", good)
    assert [j.metric.name for j in ranked(both)] == ["tsed"]


def test_the_last_step_counts() -> None:
    first = records("residual_psnr", lambda c, o, r: -good(c, o, r), step=1)
    last = records("residual_psnr", good, step=2)
    assert verdict(first + last, "residual_psnr") == "yes"
    assert verdict([*last, *first], "residual_psnr") == "yes"


def test_costs_sets_and_other_methods_are_no_business_of_it() -> None:
    found = records("residual_psnr", good) + records("seconds", good) + records("kernel_lite0_renders", good)
    stranger = [
        Record("ours", "p", "eval", f"o{o}", 0, -1, 1, "residual_psnr", 99.0, "hash", 1.0, 1.0)
        for o in range(3)
    ]
    assert [j.metric.name for j in ranked(found + stranger)] == ["residual_psnr"]
    assert ranked(found + stranger) == ranked(found)


def test_without_numbers_there_is_no_verdict() -> None:
    assert verdict(records("heldout_lpips", lambda *_: math.nan), "heldout_lpips") == "n/a"
    single = [r for r in records("residual_psnr", good) if r.object == "o3"]
    assert verdict(single, "residual_psnr") == "n/a"
    (ranking,) = ranked(single)
    row = ranking.cells
    assert row["objects"] == "1" and row["gt_over_jitter_lo"] == "n/a" != row["gt_over_jitter"]


@pytest.mark.parametrize("control", ["gt", "jitter", "shuffled"])
def test_a_missing_control_is_one_sentence(control: str) -> None:
    found = [r for r in records("residual_psnr", good) if r.method != f"control:{control}"]
    with pytest.raises(UserError, match=f"no records of the control '{control}'; evaluate gt, jitter"):
        ranked(found)


def test_copy_may_be_missing() -> None:
    found = records("residual_psnr", good, ("gt", "jitter", "shuffled"))
    (ranking,) = ranked(found)
    row = ranking.cells
    assert (row["discriminates"], row["copy"]) == ("yes", "n/a")
    assert row["ranks_copy"] == row["gt_over_copy"] == "n/a"


@pytest.mark.parametrize(("above", "answer"), [(0.3, "yes"), (-0.3, "no")])
def test_whether_truth_is_above_copies_is_said_and_changes_no_verdict(above: float, answer: str) -> None:
    others = records("residual_psnr", good, ("gt", "jitter", "shuffled"))
    copies = [
        replace(r, method="control:copy", value=r.value - above) for r in others if r.method == "control:gt"
    ]
    (ranking,) = ranked([*others, *copies])
    assert ranking.gt_over_copy.centre == pytest.approx(above) and ranking.ranks_copy == answer
    assert ranking.discriminates == "yes"
    assert "ranks copy" in as_markdown([ranking])


def test_required_metrics_must_discriminate(tmp_path: Path) -> None:
    found = ranked(records("residual_psnr", good) + records("split_ssim", lambda *_: 0.5))
    require(found, [], tmp_path)
    require(found, ["residual_psnr"], tmp_path)
    with pytest.raises(UserError, match=r"relies on split_ssim \(no\), heldout_psnr \(not measured\), which"):
        require(found, ["residual_psnr", "split_ssim", "heldout_psnr"], tmp_path)


def test_the_table_says_the_same_twice_and_in_any_order_of_records() -> None:
    found = records("residual_psnr", good) + records("split_ssim", lambda *_: 0.5)
    once = ranked(found)
    assert once == ranked(found[::-1])
    lines = list(csv.DictReader(as_csv(once).splitlines()))
    assert {line["metric"]: line["discriminates"] for line in lines} == {
        "residual_psnr": "yes",
        "split_ssim": "no",
    }
    lo, mean, hi = (float(lines[0][f"gt_over_jitter{end}"]) for end in ("_lo", "", "_hi"))
    assert lo < mean < hi
    page = as_markdown(once)
    assert "| `residual_psnr` |" in page and "control:gt" in page and page.count("| yes |") == 1


class Command:
    """The command over one CSV for each control."""

    def __init__(self, root: Path, must: list[str], found: list[Record]) -> None:
        self.root, self.out = root, root / "d/discrimination.csv"
        self.config = root / "config.yaml"
        self.config.write_text(yaml.safe_dump({"evaluate": {"must_discriminate": must}}))
        for name in LEVELS:
            group = [r for r in found if r.method == f"control:{name}"]
            if group:
                write_records(root / f"control-{name}.csv", group)

    def run(self, monkeypatch: pytest.MonkeyPatch) -> int:
        files = sorted(map(str, self.root.glob("control-*.csv")))
        arguments = ["--config", str(self.config), "--metrics", *files, "--out", str(self.out)]
        monkeypatch.setattr(sys, "argv", ["discrimination", *arguments])
        try:
            cli(main)
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0


def test_the_command_writes_both_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(tmp_path, ["residual_psnr"], records("residual_psnr", good))
    assert command.run(monkeypatch) == 0
    table = command.out.read_bytes()
    assert b"residual_psnr,consistency,yes,12" in table
    assert "| `residual_psnr` |" in command.out.with_suffix(".md").read_text()
    assert "| `residual_psnr` |" in capsys.readouterr().out
    assert sorted(p.name for p in command.out.parent.iterdir()) == [
        ".aligncvc",
        "discrimination.csv",
        "discrimination.md",
    ]
    assert command.run(monkeypatch) == 0 and command.out.read_bytes() == table


def test_a_metric_relied_upon_that_fails_fails_the_run_and_leaves_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = records("residual_psnr", good) + records("split_ssim", lambda *_: 0.5)
    command = Command(tmp_path, ["residual_psnr", "split_ssim"], found)
    assert command.run(monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: evaluate.must_discriminate relies on split_ssim (no), which does not rank"
    )
    assert error.count("\n") == 1 and "discrimination.verdicts.csv" in error
    assert not command.out.exists()
    verdicts = command.out.with_suffix(".verdicts.csv").read_text()
    assert "split_ssim,consistency,no" in verdicts and "residual_psnr,consistency,yes" in verdicts


def test_the_command_without_a_control_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(tmp_path, [], records("residual_psnr", good, ("gt", "shuffled")))
    assert command.run(monkeypatch) == 2
    assert "no records of the control 'jitter'" in capsys.readouterr().err
    assert not command.out.exists()
