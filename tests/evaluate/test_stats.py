"""The bootstrap: what it covers, what pairing gains, what it must not depend on; win rates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aligncvc.evaluate.records import FINAL_STEP, Record
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.stats import (
    DRAWS,
    Interval,
    interval,
    object_means,
    paired_interval,
    percentile_interval,
    win_rate,
)
from aligncvc.streams import numpy_stream


def drawn(
    generator: np.random.Generator, objects: int, seeds: int, within: float
) -> dict[tuple[str, int], float]:
    """Normal objects (mean 0, deviation 1) with normal seeds around each."""
    centres = generator.normal(size=objects)
    return {
        (f"o{i}", s): float(centres[i] + within * generator.normal())
        for i in range(objects)
        for s in range(seeds)
    }


@pytest.mark.parametrize(
    ("objects", "seeds", "within"), [(8, 1, 0.0), (12, 1, 0.0), (40, 1, 0.0), (12, 3, 0.5)]
)
def test_an_interval_holds_the_true_mean_in_95_percent_of_cases(
    objects: int, seeds: int, within: float
) -> None:
    generator, trials = np.random.default_rng(5), 1000
    inside = 0
    for trial in range(trials):
        _, lo, hi = interval(drawn(generator, objects, seeds, within), trial, "coverage")
        inside += lo < 0 < hi
    # two deviations of a share of 1000 are 0.014; seeds resampled within objects err on the wide side
    assert 0.93 <= inside / trials <= 0.975, inside / trials


@pytest.mark.parametrize(("objects", "seeds", "within"), [(12, 1, 0.0), (40, 1, 0.0), (12, 3, 0.5)])
def test_a_median_s_interval_holds_the_true_median_also_of_skewed_numbers(
    objects: int, seeds: int, within: float
) -> None:
    """Seconds are skewed: exp of a normal number, whose median is 1. So few objects err on the wide side."""
    generator, trials = np.random.default_rng(5), 1000
    inside = 0
    for trial in range(trials):
        samples = {key: math.exp(v) for key, v in drawn(generator, objects, seeds, within).items()}
        _, lo, hi = interval(samples, trial, "coverage", centre="median")
        inside += lo < 1 < hi
    assert 0.94 <= inside / trials <= 0.99, inside / trials


def test_medians_do_not_follow_outliers() -> None:
    """One of nine objects, and one of three seeds of another, took forty times as long."""
    usual = {(f"o{i}", s): 1.0 + 0.01 * i for i in range(9) for s in range(3)}
    slow = {**usual, **{("o4", s): 40.0 for s in range(3)}, ("o8", 1): 40.0}
    found = interval(slow, 0, "t", centre="median")
    # o4 moved from the middle to the end: the next one is in the middle now; o8 stayed where it was
    assert found.centre == pytest.approx(1.05) and found.hi < 2
    assert interval(slow, 0, "t").centre > 5
    gap = paired_interval(slow, {key: value - 0.5 for key, value in usual.items()}, 0, centre="median")
    assert gap.centre == pytest.approx(0.5) and gap.hi == pytest.approx(0.5)


def test_the_median_s_interval_is_that_of_resampled_objects() -> None:
    values = np.array([3.0, 1.0, 4.0, 1.5, 9.0])
    samples = {(f"o{i}", 0): float(v) for i, v in enumerate(values)}
    chosen = numpy_stream(7, "bootstrap", "set").integers(0, 5, (DRAWS, 5))
    by_hand = percentile_interval(np.median(values[chosen], axis=1), 5)
    assert (3.0, *by_hand) == interval(samples, 7, "set", centre="median")


def test_pairing_tightens_the_interval() -> None:
    generator = np.random.default_rng(1)
    a = drawn(generator, 12, 2, 0.1)
    b = {key: value - 0.2 + 0.05 * generator.normal() for key, value in a.items()}
    mean, lo, hi = paired_interval(a, b, 0, "x")
    assert lo < 0.2 < hi and lo <= mean <= hi
    one, two = interval(a, 0, "x"), interval(b, 0, "x")
    assert (hi - lo) < 0.2 * min(one.hi - one.lo, two.hi - two.lo)
    assert paired_interval(a, b, 0, "x").excludes_zero
    assert one.lo < two.centre < one.hi  # apart, the two could not be told from each other


def test_the_mean_is_over_objects_of_means_over_seeds() -> None:
    samples = {("a", 0): 20.0, ("a", 1): 22.0, ("b", 0): 30.0, ("b", 1): math.nan, ("c", 0): math.nan}
    assert object_means(samples) == {"a": 21.0, "b": 30.0}
    found = interval(samples, 0, "m")
    assert found.centre == 25.5 and 20.0 <= found.lo < 25.5 < found.hi <= 30.0


def test_order_does_not_matter_and_names_do() -> None:
    samples = drawn(np.random.default_rng(2), 9, 3, 0.4)
    backwards = dict(reversed(samples.items()))
    assert interval(samples, 0, "a", 1) == interval(backwards, 0, "a", 1)
    assert interval(samples, 0, "a", 1) == interval(samples, 0, "a", 1)
    assert interval(samples, 0, "a", 2) != interval(samples, 0, "a", 1)
    assert interval(samples, 1, "a", 1) != interval(samples, 0, "a", 1)


def test_seeds_within_an_object_widen_the_interval() -> None:
    """Two objects whose seeds disagree: objects alone would give an interval of no width."""
    samples = {(name, s): float(s) for name in "ab" for s in (0, 1)}
    found = interval(samples, 0, "s")
    assert found.centre == 0.5 and found.lo == 0.0 and found.hi == 1.0


def test_fewer_than_two_objects_have_no_interval() -> None:
    one = interval({("a", 0): 3.0, ("a", 1): 5.0}, 0, "x")
    assert one.centre == 4.0 and math.isnan(one.lo) and math.isnan(one.hi) and not one.excludes_zero
    assert all(math.isnan(value) for value in interval({}, 0, "x"))
    assert all(math.isnan(value) for value in paired_interval({("a", 0): 1.0}, {("b", 0): 1.0}, 0, "x"))


def test_excluding_zero() -> None:
    assert Interval(1, 0.1, 2).excludes_zero and Interval(-1, -2, -0.1).excludes_zero
    assert not Interval(1, -0.1, 2).excludes_zero and not Interval(1, 0.0, 2).excludes_zero


def test_the_interval_is_that_of_resampled_objects() -> None:
    values = np.array([3.0, 1.0, 4.0, 1.5, 9.0])
    samples = {(f"o{i}", 0): float(v) for i, v in enumerate(values)}
    chosen = numpy_stream(7, "bootstrap", "set").integers(0, 5, (DRAWS, 5))
    by_hand = percentile_interval(values[chosen].mean(1), 5)
    assert by_hand == interval(samples, 7, "set")[1:]


def test_win_rate() -> None:
    a = {("a", 0): 2.0, ("a", 1): 4.0, ("b", 0): 1.0, ("c", 0): 5.0, ("d", 0): 1.0, ("e", 0): math.nan}
    b = {("a", 0): 3.0, ("a", 1): 2.0, ("b", 0): 1.0 + 1e-9, ("c", 0): 9.0, ("e", 0): 1.0, ("f", 0): 0.0}
    assert win_rate(a, b, 1) == (1, 1, 3)  # a wins on a (3 against 2.5), ties on b, loses on c
    assert win_rate(a, b, -1) == (1, 1, 3)  # lower is better: c
    assert win_rate({}, b, 1) == (0, 0, 0)
    assert win_rate(a, a, 1) == (0, 4, 4)


def test_samples_come_from_means_over_views_at_a_step() -> None:
    row = Record("m", "p", "eval", "a", 0, -1, -1, "psnr", 10.0, "h", 1.0, 1.0)
    rows = [
        row,
        Record("m", "p", "eval", "a", 0, 3, -1, "psnr", 99.0, "h", 1.0, 1.0),
        Record("m", "p", "eval", "a", 0, -1, 2, "psnr", 11.0, "h", 1.0, 1.0),
        Record("m", "p", "eval", "b", 1, -1, -1, "psnr", math.nan, "h", 1.0, 1.0),
    ]
    scores, key = Scores(rows, 0), Key("p", "m")
    assert scores.values(key, "psnr", FINAL_STEP) == {("a", 0): 10.0}
    assert scores.values(key, "psnr", step=2) == {("a", 0): 11.0}
