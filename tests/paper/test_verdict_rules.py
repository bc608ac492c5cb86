"""Claims on hand-made records: some hold, some fail, some lack data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import yaml

from aligncvc.config.sections import Config
from aligncvc.evaluate.records import Record
from aligncvc.files import PROJECT_ROOT
from aligncvc.paper.table_rows import NONE
from aligncvc.paper.verdict_claims import FOIL, GOALS, LONG, OURS, PLAIN, RELEASED, TITLES, judge
from aligncvc.paper.verdict_page import effect, page
from aligncvc.paper.verdict_rules import (
    UNSEEN,
    Evidence,
    Line,
    apart,
    compare,
    equal,
    memory,
    outcome,
    ratio,
    rises,
)
from aligncvc.streams import numpy_stream

OBJECTS, SEEDS = [f"o{i}" for i in range(12)], (0, 1)


def records(method: str, metric: str, level: float, step: int = -1, noise: float = 0.05) -> list[Record]:
    """A number for each object and seed: the object's own offset, the level and a little noise."""
    found = []
    for i, name in enumerate(OBJECTS):
        for seed in SEEDS:
            jitter = float(numpy_stream(0, method, metric, step, name, seed).normal()) * noise
            value = level + 0.5 * i + jitter
            found.append(Record(method, "p", "eval", name, seed, -1, step, metric, value, "h", 1.0, 1.0))
    return found


def evidence(levels: Mapping[tuple[str, str], float], **more: object) -> Evidence:
    by_method: dict[str, list[Record]] = {}
    for (method, metric), level in levels.items():
        by_method.setdefault(method, []).extend(records(method, metric, level))
    return Evidence(by_method, **more)


def test_better_holds_by_direction_and_not_by_sign() -> None:
    found = evidence({("x", "psnr"): 21, ("y", "psnr"): 20, ("x", "lpips"): 0.4, ("y", "lpips"): 0.8})
    assert compare(found, "d", "", "x", "y", "psnr").holds is True
    assert compare(found, "d", "", "y", "x", "psnr").holds is False
    assert compare(found, "d", "", "x", "y", "lpips").holds is True
    line = compare(found, "d", "", "y", "x", "lpips")
    assert line.holds is False and line.effect.lo > 0 and line.n == len(OBJECTS)
    assert line.effect.mean == pytest.approx(0.4, abs=0.05)


def test_an_interval_that_meets_zero_does_not_hold_but_may_be_within_the_margin() -> None:
    found = evidence({("x", "psnr"): 20, ("y", "psnr"): 20})
    assert compare(found, "d", "", "x", "y", "psnr").holds is False
    assert compare(found, "d", "", "x", "y", "psnr", margin=0.1).holds is True
    assert compare(evidence({("x", "psnr"): 19.5, ("y", "psnr"): 20}), "d", "", "x", "y", "psnr",
                   margin=0.1).holds is False  # fmt: skip


def test_an_amount_must_be_reached() -> None:
    found = evidence({("x", "residual_psnr"): 21.0, ("y", "residual_psnr"): 20})
    assert compare(found, "goal", "", "x", "y", "residual_psnr", at_least=0.8).holds is True
    assert compare(found, "goal", "", "x", "y", "residual_psnr", at_least=1.5).holds is False


def test_a_missing_metric_is_said_and_judged_neither_way() -> None:
    line = compare(evidence({("x", "psnr"): 20}), "d", "", "x", "y", "psnr")
    assert line.holds is None and "psnr of y" in line.note and math.isnan(line.effect.mean)
    assert line.facts["effect"] is None and json.dumps(line.facts)
    assert ratio(evidence({}), "e", "", "x", "y", "seconds").holds is None
    assert rises(evidence({}), "goal", "", "x", "residual_psnr").holds is None
    assert equal(evidence({}), "control", "", "x", "y", ()).holds is None
    assert memory(evidence({}), "f", "", "both", "reconstructor").holds is None
    assert apart(evidence({}), "b", "", "x", "y", "kernel_lite0_renders").holds is None


def test_ratio_is_of_geometric_means() -> None:
    by_method = {
        "slow": [r for r in records("slow", "seconds", 0, noise=0) for r in [_with(r, 12.0)]],
        "fast": [r for r in records("fast", "seconds", 0, noise=0) for r in [_with(r, 1.5)]],
    }
    line = ratio(Evidence(by_method), "e", "", "slow", "fast", "seconds", at_least=8.0)
    assert line.effect.mean == pytest.approx(8.0) and line.holds is True and line.unit == "times"
    assert ratio(Evidence(by_method), "e", "", "slow", "fast", "seconds", at_least=8.1).holds is False
    assert ratio(Evidence(by_method), "e", "", "fast", "slow", "seconds").holds is False


def views(method: str, metric: str, levels: Sequence[float], step: int) -> list[Record]:
    """As `records`, for single views (the first is the input's) and their mean."""
    single = [replace(r, view=view) for view, level in enumerate(levels)
              for r in records(method, metric, level, step)]  # fmt: skip
    return [*single, *records(method, metric, sum(levels) / len(levels), step)]


def test_unseen_views_leave_out_the_inputs_pose_and_earlier_steps() -> None:
    found = Evidence({
        "x": [*views("x", "views_psnr", [30, 18, 20], 4), *views("x", "views_psnr", [1, 1, 1], 3),
              *records("x", "views_psnr", 23)],
        "copy": views("copy", "views_psnr", [100, 17, 17], 1),
    })  # fmt: skip
    line = compare(found, "copy", "", "x", "copy", "unseen_psnr")
    assert line.effect.mean == pytest.approx(2, abs=0.05) and line.holds is True and line.unit == "dB"
    assert compare(found, "copy", "", "x", "copy", "unseen_fg_psnr").holds is None


def _with(record: Record, value: float) -> Record:
    return Record(**{**record.__dict__, "value": value})


def test_a_curve_must_rise_at_every_step() -> None:
    up = [r for k in range(1, 5) for r in records("x", "residual_psnr", 20.0 + k, k)]
    line = rises(Evidence({"x": up}), "goal", "", "x", "residual_psnr")
    assert line.holds is True and "3 to 4" in line.note
    dip = [_with(r, r.value - 2.5) if r.step == 3 else r for r in up]
    line = rises(Evidence({"x": dip}), "goal", "", "x", "residual_psnr")
    assert line.holds is False and line.effect.mean < 0


def test_equal_means_up_to_rounding_and_leaves_clocks_out() -> None:
    plain = [*records("y", "psnr", 20), *records("y", "seconds", 1)]
    same = [Record(**{**r.__dict__, "method": "x"}) for r in plain]
    slower = [_with(r, r.value + 1) if r.metric == "seconds" else r for r in same]
    assert equal(Evidence({"x": slower, "y": plain}), "control", "", "x", "y", ("seconds",)).holds is True
    rounded = [_with(r, r.value + 1e-8) if r.object == "o3" else r for r in same]
    assert equal(Evidence({"x": rounded, "y": plain}), "control", "", "x", "y", ("seconds",)).holds is True
    moved = [_with(r, r.value + 1e-5) if r.object == "o3" else r for r in same]
    assert equal(Evidence({"x": moved, "y": plain}), "control", "", "x", "y", ("seconds",)).holds is False


def test_sets_are_compared_by_their_own_intervals() -> None:
    def whole(method: str, mean: float, lo: float, hi: float) -> list[Record]:
        ends = {"": mean, "_lo": lo, "_hi": hi}
        return [
            Record(method, "p", "eval", "*", 0, -1, 2, f"kernel_lite0_renders{end}", value, "h", 1.0, 1.0)
            for end, value in ends.items()
        ]

    found = Evidence(
        {"x": whole("x", 1, 0.8, 1.2), "y": whole("y", 2, 1.5, 2.5), "z": whole("z", 1.4, 1.1, 1.7)}
    )
    assert apart(found, "b", "", "x", "y", "kernel_lite0_renders").holds is True
    assert apart(found, "b", "", "x", "z", "kernel_lite0_renders").holds is False


def line(holds: bool | None, main: bool = True) -> Line:
    return Line("a", "", "psnr", NONE, 1, "dB", "", holds, main=main)


def test_a_claim_hangs_on_its_main_lines() -> None:
    assert outcome([line(True), line(False, main=False)]) is True
    assert outcome([line(True), line(False), line(None)]) is False
    assert outcome([line(True), line(None)]) is None
    assert outcome([]) is None


METHODS = (OURS, PLAIN, LONG, "two_stage_4", "soft_4", "hard_4", FOIL, RELEASED)


def full(good: bool) -> Evidence:
    """A world in which alignment works, or one in which it does harm."""
    rank = {OURS: 6.0, "soft_4": 4.0, "hard_4": 4.5, PLAIN: 2.0, RELEASED: 2.0, FOIL: 3.0, LONG: 3.5,
            "two_stage_4": 0.0}  # fmt: skip
    by_method: dict[str, list[Record]] = {}
    for method in METHODS:
        level = rank[method] if good else -rank[method]
        rows = records(method, "psnr", 20 + level) + records(method, "lpips", 1 - 0.1 * level)
        rows += records(method, "fg_psnr", 15 + level) + records(method, "sharpness", 0.8 + 0.1 * level)
        rows += [r for k in (1, 2, 3, 4) for r in records(method, "residual_psnr", 20 + level * k, k)]
        rows += records(method, "delta_psnr", 3 - 0.4 * level, 4) + records(
            method, "heldout_psnr", 15 + level, 4
        )
        rows += [_with(r, 100.0 if method == LONG else 8.0) for r in records(method, "network_calls", 0)]
        rows += [_with(r, 3.0 if method == LONG else 0.7) for r in records(method, "seconds", 0)]
        for metric in UNSEEN.values():
            rows += views(method, metric, [40.0, 15 + level, 15 + level], step=4)
        by_method[method] = rows
    by_method[RELEASED] = [Record(**{**r.__dict__, "method": RELEASED}) for r in by_method[PLAIN]]
    by_method[f"renderings:{LONG}"] = records(f"renderings:{LONG}", "heldout_psnr", 30 if good else 0)
    by_method["control:gt"] = records("control:gt", "heldout_psnr", 25 if good else 0, 1)
    by_method["control:copy"] = [
        r for metric in UNSEEN.values() for r in views("control:copy", metric, [100.0, 15.0, 15.0], step=1)
    ]
    rows = {"both": {"peak_mb": "900"}, "reconstructor": {"peak_mb": "600" if good else "901"}}
    return Evidence(by_method, 0, {"heldout_psnr": "yes", "split_ssim": "no"}, rows)


def outcomes(found: Evidence) -> dict[str, bool | None]:
    lines = judge(found, ["psnr", "lpips", "fg_psnr", "residual_psnr", "delta_psnr", "seconds"])
    return {key: outcome([line for line in lines if line.claim == key]) for key in TITLES}


def test_every_claim_can_hold() -> None:
    assert outcomes(full(True)) == dict.fromkeys(TITLES, True)


def test_every_claim_can_fail() -> None:
    found = outcomes(full(False))
    # the speed-up and the control do not hang on quality
    assert {key for key, holds in found.items() if holds is False} == {"a", "b", "c", "d", "f", *GOALS}


def test_table1_judges_quality_and_leaves_cost_and_directionless_metrics_out() -> None:
    lines = judge(full(True), ["psnr", "delta_psnr", "seconds", "chamfer_half_sum@none"])
    assert [line.metric for line in lines if line.claim == "table1"] == ["psnr", "chamfer_half_sum@none"]
    assert [line.holds for line in lines if line.claim == "table1"] == [True, None]


def test_methods_of_the_claims_are_those_of_the_configuration() -> None:
    data = yaml.safe_load((PROJECT_ROOT / "config/verdict.yaml").read_text())
    config = Config.model_validate(data)
    assert set(METHODS) <= set(config.sample.methods)
    for family in ("aware", "soft", "hard", "aligncvc", "regression"):
        assert {f"{family}_{k}" for k in (1, 2, 4, 8)} <= set(config.sample.methods)
    assert config.seeds == [0, 1, 2]
    assert config.protocol.objects.limit is None or config.protocol.objects.limit >= 60


def test_the_page_says_each_line_and_its_explanation() -> None:
    lines = judge(full(False), ["psnr"])
    about = {
        "pair": "p",
        "objects": 12,
        "seeds": [0, 1],
        "protocol": "v-0",
        "commit": "abc",
        "hardware": ["a machine"],
        "date": "2026-01-01",
        "runs": [{"run": "both", "steps": 5, "seconds": 9.0}],
        "memory": [],
    }
    text = page(
        about, lines, {"table1": "| a |\n"}, [("k.png", "A caption.", "alt")], {"d": "It was too short."}
    )
    for found in lines:
        assert effect(found) in text
    assert "### (d) Four aligned steps reach or beat fifty unaligned ones: **does not hold**" in text
    assert "It was too short." in text and "![alt](k.png)" in text and "| both | 5 | 9 |" in text
    assert (
        effect(Line("f", "", "peak_mb", lines[0].effect._replace(mean=12.34, lo=math.nan), 0, "MB", "", True))
        == "+12.3 MB"
    )
