"""Values, means and pairings from records: the last step counts, sets bring intervals, nothing merges."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from aligncvc.errors import UserError
from aligncvc.evaluate.records import Record, write_records
from aligncvc.evaluate.scores import Key, Scores, control
from aligncvc.evaluate.stats import interval, paired_interval

OURS, OTHER = Key("p", "m"), Key("q", "m")
ROW = Record("m", "p", "eval", "a", 0, -1, -1, "psnr", 10.0, "h", 1.0, 1.0)


def curve_of(pair: str, level: float) -> list[Record]:
    """residual_psnr of three objects after two steps, with single views beside the means."""
    rows = [
        replace(ROW, pair=pair, object=name, metric="residual_psnr", step=k, value=level + 10 * k + i * k)
        for k in (1, 2)
        for i, name in enumerate("abc")
    ]
    return [*rows, *(replace(row, view=4, value=row.value + 1) for row in rows)]


def test_values_are_means_over_views_at_a_step_without_nan() -> None:
    rows = [
        ROW, replace(ROW, seed=1, value=20.0), replace(ROW, view=3, value=99.0),
        replace(ROW, object="b", value=math.nan), replace(ROW, metric="failed", value=0.0),
    ]  # fmt: skip
    scores = Scores([*rows, *curve_of("p", 0)], 0)
    assert scores.values(OURS, "psnr") == {("a", 0): 10.0, ("a", 1): 20.0}
    assert scores.values(OURS, "residual_psnr") == {("a", 0): 20.0, ("b", 0): 22.0, ("c", 0): 24.0}
    assert scores.values(OURS, "residual_psnr", 1)["c", 0] == 12.0 and scores.values(OURS, "ssim") == {}
    assert scores.metrics(OURS) == ["psnr", "residual_psnr"] and scores.last_step(OURS, "psnr") == -1
    of_views = scores.values_of_views(OURS, "residual_psnr", {0})
    assert of_views == {("a", 0): 21.0, ("b", 0): 23.0, ("c", 0): 25.0}
    assert scores.counted([OURS]) == "3 objects and 2 seeds"


def test_numbers_are_those_of_the_bootstrap() -> None:
    scores = Scores([*curve_of("p", 0), *curve_of("q", -3)], 7)
    own, other = (scores.values(key, "residual_psnr") for key in (OURS, OTHER))
    assert scores.centre(OURS, "residual_psnr", stream=("x",)) == interval(own, 7, "x")
    paired = scores.paired(OURS, OTHER, "residual_psnr", stream=("y", 1))
    assert paired == paired_interval(own, other, 7, "y", 1) and paired.centre == 3.0


def test_costs_are_medians_and_paired_so() -> None:
    times = {"p": [1.0, 2.0, 30.0, 4.0], "q": [1.5, 2.5, 4.0, 4.5]}
    rows = [
        replace(ROW, pair=pair, object=name, metric=metric, value=value)
        for pair, values in times.items()
        for name, value in zip("abcd", values, strict=True)
        for metric in ("seconds", "cpu_seconds", "peak_mb", "psnr")
    ]
    scores = Scores(rows, 7)
    for metric in ("seconds", "cpu_seconds", "peak_mb"):
        own, other = (scores.values(key, metric) for key in (OURS, OTHER))
        assert scores.centre(OURS, metric) == interval(own, 7, centre="median")
        assert scores.centre(OURS, metric).centre == 3.0
        assert scores.paired(OURS, OTHER, metric) == paired_interval(own, other, 7, centre="median")
        assert scores.paired(OURS, OTHER, metric).centre == -0.5  # of -0.5, -0.5, 26, -0.5
    assert scores.centre(OURS, "psnr").centre == 37 / 4


def test_curves_have_a_point_a_step_and_sets_bring_their_intervals() -> None:
    ends = {"": 2.0, "_lo": 1.0, "_hi": 3.0}
    whole = [
        replace(ROW, object="*", metric=f"kernel_lite0_views{end}", step=k, value=value)
        for k in (1, 2)
        for end, value in ends.items()
    ]
    scores = Scores([*curve_of("p", 0), *whole, ROW], 0)
    points = scores.curve(OURS, "residual_psnr")
    assert [point.centre for point in points] == [11.0, 22.0] and all(p.lo < p.centre < p.hi for p in points)
    assert scores.curve(OURS, "kernel_lite0_views") == [(2.0, 1.0, 3.0)] * 2
    assert scores.curve(OURS, "psnr") == [] and scores.curve(OURS, "heldout_psnr") == []


def test_two_pairs_under_one_method_never_merge(tmp_path: Path) -> None:
    """Also from files: the second pair once overwrote the first."""
    write_records(tmp_path / "one.csv", curve_of("p", 0))
    write_records(tmp_path / "two.csv", curve_of("q", 100))
    scores = Scores.read([tmp_path / "one.csv", tmp_path / "two.csv"], 0)
    assert scores.keys == [OURS, OTHER]
    assert [scores.centre(key, "residual_psnr").centre for key in scores.keys] == [22.0, 122.0]
    with pytest.raises(UserError):
        Scores.read([tmp_path / "one.csv"] * 2, 0)


def test_a_number_that_is_recorded_twice_is_refused() -> None:
    with pytest.raises(UserError, match="psnr of a, seed 0, is recorded twice for method m of pair p"):
        Scores([ROW, replace(ROW, value=11.0)], 0)
    Scores([ROW, replace(ROW, seed=1), replace(ROW, pair="q"), replace(ROW, view=0), replace(ROW, step=1)], 0)


def test_controls_have_a_key_and_more_is_better_in_oriented_values() -> None:
    assert control("gt") == control("control:gt") == ("control", "control:gt") and control("gt").control
    rows = [replace(ROW, metric="lpips", value=0.25), replace(ROW, metric="delta_psnr", value=-2.0), ROW]
    scores = Scores(rows, 0)
    turned = [scores.oriented(OURS, metric)["a", 0] for metric in ("lpips", "delta_psnr", "psnr")]
    assert turned == [-0.25, -2.0, 10.0]
