"""Claims on hand-made records: some hold, some fail, some lack data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from aligncvc.config.paper_job import paper_job
from aligncvc.config.plan import Plan
from aligncvc.config.root import load_config, parse_config
from aligncvc.errors import UserError
from aligncvc.evaluate.records import Record
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.set_draws import SetDraws
from aligncvc.evaluate.stats import NONE
from aligncvc.files import PROJECT_ROOT, parse_yaml
from aligncvc.paper.claims import Claims, Line, lines, load_claims
from aligncvc.paper.verdict import effect, page
from aligncvc.paper.verdict_rules import RULES, UNSEEN, Evidence, Judged, judge, outcome
from aligncvc.streams import numpy_stream

PAIR = "wonder3d+lgm"
OURS, PLAIN, LONG, FOIL, RELEASED = "aligncvc_4", "aware_4", "two_stage_50", "regression_4", "released_asd_4"
CLAIMS = load_claims(PROJECT_ROOT / "config/claims/verdict.yaml")
GOALS = [key for key, claim in CLAIMS.claims.items() if claim.group == "goals"]

OBJECTS, SEEDS = [f"o{i}" for i in range(12)], (0, 1)


def records(method: str, metric: str, level: float, step: int = -1, noise: float = 0.05) -> list[Record]:
    """A number for each object and seed: the object's own offset, the level and a little noise."""
    found = []
    for i, name in enumerate(OBJECTS):
        for seed in SEEDS:
            jitter = float(numpy_stream(0, method, metric, step, name, seed).normal()) * noise
            value = level + 0.5 * i + jitter
            pair = "control" if method.startswith("control:") else PAIR
            found.append(Record(method, pair, "eval", name, seed, -1, step, metric, value, "h", 1.0, 1.0))
    return found


def evidence(levels: Mapping[tuple[str, str], float]) -> Evidence:
    return measured(r for (method, metric), level in levels.items() for r in records(method, metric, level))


def measured(found: Iterable[Record], memory: Mapping[str, Mapping[str, str]] | None = None) -> Evidence:
    return Evidence(Scores(found, 0), memory or {})


def judged(found: Evidence, rule: str, one: str, other: str, metric: str, **more: object) -> Judged:
    """One line about PAIR."""
    return RULES[rule](Line("d", "", rule, Key(PAIR, one), key(other), metric, **more), found)


def key(method: str) -> Key:
    return Key("control" if method.startswith("control:") else PAIR, method)


def test_better_holds_by_direction_and_not_by_sign() -> None:
    found = evidence({("x", "psnr"): 21, ("y", "psnr"): 20, ("x", "lpips"): 0.4, ("y", "lpips"): 0.8})
    assert judged(found, "better", "x", "y", "psnr").holds is True
    assert judged(found, "better", "y", "x", "psnr").holds is False
    assert judged(found, "better", "x", "y", "lpips").holds is True
    line = judged(found, "better", "y", "x", "lpips")
    assert line.holds is False and line.effect.lo > 0 and line.n == len(OBJECTS)
    assert line.effect.centre == pytest.approx(0.4, abs=0.05)


def test_an_interval_that_meets_zero_does_not_hold_but_may_be_within_the_margin() -> None:
    found = evidence({("x", "psnr"): 20, ("y", "psnr"): 20})
    assert judged(found, "better", "x", "y", "psnr").holds is False
    assert judged(found, "no_worse", "x", "y", "psnr", margin=0.1).holds is True
    worse = evidence({("x", "psnr"): 19.5, ("y", "psnr"): 20})
    assert judged(worse, "no_worse", "x", "y", "psnr", margin=0.1).holds is False


def test_an_amount_must_be_reached() -> None:
    found = evidence({("x", "residual_psnr"): 21.0, ("y", "residual_psnr"): 20})
    assert judged(found, "better", "x", "y", "residual_psnr", at_least=0.8).holds is True
    assert judged(found, "better", "x", "y", "residual_psnr", at_least=1.5).holds is False


def test_a_missing_metric_is_said_and_judged_neither_way() -> None:
    line = judged(evidence({("x", "psnr"): 20}), "better", "x", "y", "psnr")
    assert line.holds is None and "psnr of y" in line.note and math.isnan(line.effect.centre)
    assert line.facts["effect"] is None and json.dumps(line.facts)
    assert judged(evidence({}), "ratio", "x", "y", "seconds").holds is None
    assert judged(evidence({}), "rises", "x", "", "residual_psnr").holds is None
    assert judged(evidence({}), "equal", "x", "y", "all").holds is None
    assert judged(evidence({}), "more_memory", "both", "reconstructor", "peak_mb").holds is None
    assert judged(evidence({}), "apart", "x", "y", "kernel_lite0_renders").holds is None


def test_ratio_of_a_cost_is_a_median() -> None:
    """One object met a busy moment; a geometric mean would follow it."""
    rows = [
        _with(r, 100.0 if (name, r.object) == ("slow", "o0") else value)
        for name, value in (("slow", 12.0), ("fast", 1.5))
        for r in records(name, "cpu_seconds", 0, noise=0)
    ]
    assert judged(measured(rows), "ratio", "slow", "fast", "cpu_seconds").effect.centre == pytest.approx(8)
    other = [replace(r, metric="sed_px") for r in rows]
    assert judged(measured(other), "ratio", "slow", "fast", "sed_px").effect.centre > 8.5


def test_ratio_and_what_it_has_to_reach() -> None:
    fast_and_slow = [
        _with(r, value)
        for name, value in (("slow", 12.0), ("fast", 1.5))
        for r in records(name, "seconds", 0, noise=0)
    ]
    line = judged(measured(fast_and_slow), "ratio", "slow", "fast", "seconds", at_least=8.0)
    assert line.effect.centre == pytest.approx(8.0) and line.holds is True and line.unit == "times"
    assert judged(measured(fast_and_slow), "ratio", "slow", "fast", "seconds", at_least=8.1).holds is False
    assert judged(measured(fast_and_slow), "ratio", "fast", "slow", "seconds").holds is False


def views(method: str, metric: str, levels: Sequence[float], step: int) -> list[Record]:
    """As `records`, for single views (the first is the input's) and their mean."""
    single = [replace(r, view=view) for view, level in enumerate(levels)
              for r in records(method, metric, level, step)]  # fmt: skip
    return [*single, *records(method, metric, sum(levels) / len(levels), step)]


def test_unseen_views_leave_out_the_inputs_pose_and_earlier_steps() -> None:
    found = measured([
        *views("x", "views_psnr", [30, 18, 20], 4), *views("x", "views_psnr", [1, 1, 1], 3),
        *records("x", "views_psnr", 23), *views("copy", "views_psnr", [100, 17, 17], 1),
    ])  # fmt: skip
    line = judged(found, "better", "x", "copy", "unseen_psnr")
    assert line.effect.centre == pytest.approx(2, abs=0.05) and line.holds is True and line.unit == "dB"
    assert judged(found, "better", "x", "copy", "unseen_fg_psnr").holds is None


def _with(record: Record, value: float) -> Record:
    return replace(record, value=value)


def test_a_curve_must_rise_at_every_step() -> None:
    up = [r for k in range(1, 5) for r in records("x", "residual_psnr", 20.0 + k, k)]
    line = judged(measured(up), "rises", "x", "", "residual_psnr")
    assert line.holds is True and "3 to 4" in line.note
    dip = [_with(r, r.value - 2.5) if r.step == 3 else r for r in up]
    line = judged(measured(dip), "rises", "x", "", "residual_psnr")
    assert line.holds is False and line.effect.centre < 0


def test_equal_means_up_to_rounding_and_leaves_clocks_out() -> None:
    plain = [*records("y", "psnr", 20), *records("y", "seconds", 1)]
    same = [replace(r, method="x") for r in plain]
    slower = [_with(r, r.value + 1) if r.metric == "seconds" else r for r in same]
    assert judged(measured([*slower, *plain]), "equal", "x", "y", "all", skipped=("seconds",)).holds is True
    rounded = [_with(r, r.value + 1e-8) if r.object == "o3" else r for r in same]
    assert judged(measured([*rounded, *plain]), "equal", "x", "y", "all", skipped=("seconds",)).holds is True
    moved = [_with(r, r.value + 1e-5) if r.object == "o3" else r for r in same]
    assert judged(measured([*moved, *plain]), "equal", "x", "y", "all", skipped=("seconds",)).holds is False


def test_sets_are_compared_by_their_own_intervals() -> None:
    def whole(method: str, mean: float, lo: float, hi: float) -> list[Record]:
        ends = {"": mean, "_lo": lo, "_hi": hi}
        return [
            Record(method, PAIR, "eval", "*", 0, -1, 2, f"kernel_lite0_renders{end}", value, "h", 1.0, 1.0)
            for end, value in ends.items()
        ]

    found = measured([*whole("x", 1, 0.8, 1.2), *whole("y", 2, 1.5, 2.5), *whole("z", 1.4, 1.1, 1.7)])
    assert judged(found, "apart", "x", "y", "kernel_lite0_renders").holds is True
    assert judged(found, "apart", "x", "z", "kernel_lite0_renders").holds is False


def drawn(level: float, noise: float = 0.02, objects: Sequence[str] = OBJECTS) -> SetDraws:
    """A kernel distance on 200 resamples that move every method's alike, and each a little by itself."""
    shared = numpy_stream(0, "shared").normal(0, 0.3, 201)
    own = numpy_stream(0, "own", level).normal(0, noise, 201)
    return SetDraws(
        list(objects), 0, {("kernel_lite0_renders", 4): level + shared + own - shared[0] - own[0]}
    )


def test_sets_of_the_same_objects_are_compared_jointly() -> None:
    draws = {Key(PAIR, "x"): drawn(1.29), Key(PAIR, "y"): drawn(1.56)}
    found = Evidence(Scores(records("x", "psnr", 1), 0), draws=draws)
    one = judged(found, "jointly", "x", "y", "kernel_lite0_renders")
    assert one.holds is True and one.n == len(OBJECTS) and one.effect.centre == pytest.approx(-0.27)
    assert one.effect.hi - one.effect.lo < 0.2, "their own intervals are wider than 1"
    assert judged(found, "jointly", "y", "x", "kernel_lite0_renders").holds is False
    assert judged(found, "no_worse", "y", "x", "kernel_lite0_renders", margin=0.5).holds is True
    assert judged(found, "no_worse", "y", "x", "kernel_lite0_renders", margin=0.2).holds is False
    fewer = Evidence(found.scores, draws={**draws, Key(PAIR, "y"): drawn(1.5, objects=OBJECTS[1:])})
    for lacking in (fewer, Evidence(found.scores)):
        line = judged(lacking, "jointly", "x", "y", "kernel_lite0_renders")
        assert line.holds is None and "no resamples of kernel_lite0_renders" in line.note


BOTH = (("lpips", 0.05), ("union_psnr", 0.3))


@pytest.mark.parametrize(
    ("lpips", "union", "holds", "better"),
    [
        (0.5, 20.0, True, 1),  # better, and equal
        (0.5, 21.0, True, 2),
        (0.8, 20.0, False, 0),  # nothing gained
        (0.5, 19.0, False, 1),  # gained, and lost beyond the margin
        (0.5, 19.85, True, 1),  # lost within the margin
    ],
)
def test_one_better_and_none_worse(lpips: float, union: float, holds: bool, better: int) -> None:
    found = evidence({
        ("x", "lpips"): lpips, ("y", "lpips"): 0.8, ("x", "union_psnr"): union, ("y", "union_psnr"): 20,
    })  # fmt: skip
    line = judged(found, "one_better", "x", "y", "lpips", metrics=BOTH)
    assert line.holds is holds and line.effect.centre == better
    assert effect(line) == f"{better} better" and line.facts["metric"] == "lpips, union_psnr"
    assert "LPIPS" in line.note and "Union PSNR" in line.note


def test_one_better_is_not_judged_while_a_metric_is_missing() -> None:
    found = evidence({("x", "lpips"): 0.5, ("y", "lpips"): 0.8})
    line = judged(found, "one_better", "x", "y", "lpips", metrics=BOTH)
    assert line.holds is None and "n/a: union_psnr" in line.note
    worse = judged(found, "one_better", "y", "x", "lpips", metrics=BOTH)
    assert worse.holds is False, "what is lost is lost whatever is missing"
    assert judged(evidence({}), "one_better", "x", "y", "lpips", metrics=BOTH).holds is None


def test_a_line_may_be_about_an_early_step() -> None:
    found = measured([
        *records("x", "residual_psnr", 21, 1), *records("x", "residual_psnr", 22, 4),
        *records("y", "residual_psnr", 20, 1), *records("y", "residual_psnr", 25, 4),
    ])  # fmt: skip
    last = judged(found, "better", "x", "y", "residual_psnr")
    first = judged(found, "better", "x", "y", "residual_psnr", step=1, other_step=1)
    assert (last.holds, first.holds) == (False, True) and first.effect.centre == pytest.approx(1, abs=0.05)
    own = judged(found, "better", "y", "y", "residual_psnr", other_step=1)
    assert own.holds is True and own.effect.centre == pytest.approx(5, abs=0.05)
    assert judged(found, "better", "x", "y", "residual_psnr", step=2, other_step=2).holds is None


def line(holds: bool | None, main: bool = True) -> Judged:
    asked = Line("a", "", "better", Key(PAIR, "x"), Key(PAIR, "y"), "psnr", main=main)
    return Judged(asked, NONE, 1, holds)


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
    by_method[RELEASED] = [replace(r, method=RELEASED) for r in by_method[PLAIN]]
    by_method[f"renderings:{LONG}"] = records(f"renderings:{LONG}", "heldout_psnr", 30 if good else 0)
    by_method["control:gt"] = records("control:gt", "heldout_psnr", 25 if good else 0, 1)
    by_method["control:copy"] = [
        r for metric in UNSEEN.values() for r in views("control:copy", metric, [100.0, 15.0, 15.0], step=1)
    ]
    rows = {"both": {"peak_mb": "900"}, "reconstructor": {"peak_mb": "600" if good else "901"}}
    return measured([r for group in by_method.values() for r in group], rows)


def verdict(found: Evidence, columns: Sequence[str], claims: Claims = CLAIMS) -> list[Judged]:
    return judge(lines(claims, columns, {"heldout_psnr": "yes", "split_ssim": "no"}), found)


def outcomes(found: Evidence) -> dict[str, bool | None]:
    all_lines = verdict(found, ["psnr", "lpips", "fg_psnr", "residual_psnr", "delta_psnr", "seconds"])
    return {key: outcome([one for one in all_lines if one.line.claim == key]) for key in CLAIMS.claims}


def test_every_claim_can_hold() -> None:
    assert outcomes(full(True)) == dict.fromkeys(CLAIMS.claims, True)


def test_every_claim_can_fail() -> None:
    found = outcomes(full(False))
    # the speed-up and the control do not hang on quality
    assert {key for key, holds in found.items() if holds is False} == {"a", "b", "c", "d", "f", *GOALS}


def test_table1_judges_quality_and_leaves_cost_and_directionless_metrics_out() -> None:
    found = verdict(full(True), ["psnr", "delta_psnr", "seconds", "chamfer_half_sum@none"])
    found = [one for one in found if one.line.claim == "table1"]
    assert [one.line.metric for one in found] == ["psnr", "chamfer_half_sum@none"]
    assert [one.holds for one in found] == [True, None]


def test_lines_of_two_pairs_are_told_apart() -> None:
    """The same method of another pair, better by 3 dB, is not what the line is about."""
    other = [replace(r, pair="other") for r in records("x", "psnr", 23)]
    found = measured([*records("x", "psnr", 20), *records("y", "psnr", 20), *other])
    spec = {
        "statement": "{method} of {pair}",
        "rule": "better",
        "method": "x",
        "against": "y",
        "metric": "psnr",
    }
    group = {
        "title": "t",
        "group": "claims",
        "lines": [spec, {**spec, "pair": "other", "against_pair": PAIR}],
    }
    claims = Claims.model_validate({"pair": PAIR, "claims": {"z": group}})
    own, others = verdict(found, [], claims)
    assert (own.holds, others.holds) == (False, True) and claims.pairs == [PAIR, "other"]
    assert others.line.statement == "x of other" and others.effect.centre == pytest.approx(3, abs=0.05)


def test_the_consistency_metric_that_ranks_the_controls_goes_first() -> None:
    asked = [line.metric for line in lines(CLAIMS, [], {"split_ssim": "yes"}) if line.claim == "a"]
    assert asked == ["split_ssim", "split_ssim", "heldout_psnr", "heldout_psnr"]
    notes = [line.note for line in lines(CLAIMS, [], {"heldout_psnr": "no"}) if line.claim == "a"]
    assert "does not rank" in notes[0] and "not known" in notes[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "bigger"}, "rule"),
        ({"rule": "no_worse"}, "has no margin"),
        ({"statement": "{methods}"}, "may hold"),
        ({"margins": 1}, "margins"),
    ],
)
def test_wrong_claims_are_named(tmp_path: Path, change: dict, words: str) -> None:
    spec = {"statement": "s", "rule": "better", "method": "x", "against": "y", "metric": "psnr", **change}
    data = {"pair": PAIR, "claims": {"a": {"title": "t", "group": "claims", "lines": [spec]}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=f"c.yaml are not valid.*{words}"):
        load_claims(tmp_path / "c.yaml")
    with pytest.raises(UserError, match="no claims can be read"):
        load_claims(tmp_path / "none.yaml")


def test_methods_of_the_claims_are_those_of_the_configuration() -> None:
    config = load_config(PROJECT_ROOT / "config/verdict.yaml")
    job = paper_job(Plan(config))
    known = {(row.pair, row.method) for row in job.rows} | {("control", name) for name in job.controls}
    asked = [line for line in lines(CLAIMS, job.paper.columns, {}) if line.rule != "more_memory"]
    named = {key for line in asked for key in (line.one, line.other) if key.method}
    strangers = {(pair, method.removeprefix("renderings:")) for pair, method in named} - known
    assert not strangers and {key.method for key in named} >= set(METHODS)
    methods = {row.method for row in job.rows}
    for family in ("aware", "soft", "hard", "aligncvc", "regression"):
        assert {f"{family}_{k}" for k in (1, 2, 4, 8)} <= methods
    assert job.seeds == [0, 1, 2]
    assert job.protocol.objects.limit is None or job.protocol.objects.limit >= 60


def test_every_method_of_the_claims_in_depth_is_run() -> None:
    layers = [
        parse_yaml((PROJECT_ROOT / "config" / name).read_text()) for name in ("pairs.yaml", "depth.yaml")
    ]
    merged: dict[str, Any] = {}
    for layer in layers:
        update_config(merged, layer)
    config = parse_config(merged, "both")
    assert config.paper.claims == "config/claims/depth.yaml"
    job, claims = paper_job(Plan(config)), load_claims(PROJECT_ROOT / config.paper.claims)
    known = {(row.pair, row.method) for row in job.rows} | {("control", name) for name in job.controls}
    asked = [line for line in lines(claims, job.paper.columns, {}) if line.rule != "more_memory"]
    named = {
        (pair, method.removeprefix("renderings:"))
        for line in asked
        for pair, method in (line.one, line.other)
    }
    assert named <= known, named - known
    judged_rows = {method for _, method in named}
    unused = {row.method for row in job.rows} - judged_rows
    assert not unused, f"nobody judges {unused}"
    assert claims.margins == ABSTRACT.margins and claims.consistency == ABSTRACT.consistency


def test_the_page_says_each_line_and_its_explanation() -> None:
    found = verdict(full(False), ["psnr"])
    about = {
        "claims": "claims/mine.yaml",
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
    tables, pictures = {"table1": "| a |\n"}, [("k.png", "A caption.", "alt")]
    text = page(CLAIMS, about, found, tables, pictures, {"d": "It was too short."})
    assert all(effect(one) in text and one.rule in text for one in found)
    assert "### (d) Four aligned steps reach or beat fifty unaligned ones: **does not hold**" in text
    told = text.partition("What does not hold:")[2].partition("Effects are")[0]
    failed = [one for one in found if one.line.main and one.holds is False]
    assert failed and all(f"| {effect(one)} |" in told for one in failed)
    assert told.count("\n| ") == len(failed) + 2
    assert "`claims/mine.yaml`" in text
    assert "It was too short." in text and "![alt](k.png)" in text and "| both | 5 | 9 |" in text
    peak = replace(found[0], line=replace(found[0].line, metric="peak_mb", rule="more_memory"))
    assert effect(replace(peak, effect=peak.effect._replace(centre=12.34, lo=math.nan))) == "+12.3 MB"


ABSTRACT = load_claims(PROJECT_ROOT / "config/claims/abstract.yaml")
SCANS = load_claims(PROJECT_ROOT / "config/claims/scans.yaml")
PUBLISHED = load_claims(PROJECT_ROOT / "config/claims/published.yaml")
RIVALS = ("videomv_25", "gen3diffusion_25", "ouroboros3d_25")
SLOW = (LONG, "two_stage_4", "aware_25", *RIVALS)


def world(claims: Claims, good: bool) -> Evidence:
    """Numbers for every line of a file of claims: as the paper has it, or the other way round."""
    ours = {OURS: 4.0, "soft_4": 3.0, "hard_4": 3.5, PLAIN: 1.0, "aware_25": 0.5}
    ranks = ours | dict.fromkeys((LONG, "two_stage_4", *RIVALS), 0.0)
    rows, draws, sign = [], {}, 1 if good else -1
    for pair in claims.pairs:
        for method, rank in ranks.items():
            level, found = sign * rank, []
            for metric in ("psnr", "union_psnr", "fg_psnr", "sharpness", "residual_unseen_psnr"):
                found += records(method, metric, 20 + level)
            found += records(method, "lpips", 1 - 0.1 * level, noise=0.005)
            found += records(method, "gap_unseen_psnr", 5 - level)
            found += records(method, "network_calls", 50 if (method in SLOW) == good else 8, noise=0)
            found += records(method, "seconds", 50 if (method in SLOW) == good else 8, noise=0)
            for step in (1, 4):
                for metric in ("residual_psnr", "silhouette_coherence", "renders_union_psnr"):
                    found += records(method, metric, 20 + level + sign * 0.2 * step, step)
            for metric in UNSEEN.values():
                found += views(method, metric, [40.0, 18 + 3 * sign, 18 + 3 * sign], step=4)
            rows += [replace(r, pair=pair) for r in found]
            draws[Key(pair, method)] = drawn(5 - level)
    coherent = "silhouette_coherence"
    rows += records(f"renderings:{LONG}", coherent, 20 + 9 * sign) + records(
        "control:gt", coherent, 20 + 9 * sign
    )
    for metric in UNSEEN.values():
        rows += views("control:copy", metric, [100.0, 16.0, 16.0], step=1)
    memory = {"both": {"peak_mb": "900"}, "reconstructor": {"peak_mb": "600" if good else "901"}}
    return Evidence(Scores(rows, 0), memory, draws)


@pytest.mark.parametrize("claims", [ABSTRACT, SCANS, PUBLISHED], ids=["abstract", "scans", "published"])
@pytest.mark.parametrize("good", [True, False])
def test_the_claims_of_the_abstract_can_hold_and_can_fail(claims: Claims, good: bool) -> None:
    found = judge(lines(claims, ["psnr"], {"heldout_psnr": "yes"}), world(claims, good))
    answers = {key: outcome([one for one in found if one.line.claim == key]) for key in claims.claims}
    assert answers == dict.fromkeys(claims.claims, good)
    assert all(one.rule for one in found) and json.dumps([one.facts for one in found])


@pytest.mark.parametrize("claims", [ABSTRACT, PUBLISHED], ids=["abstract", "published"])
def test_a_page_has_headings_of_what_is_judged(claims: Claims) -> None:
    found = judge(lines(claims, ["psnr"], {}), world(claims, True))
    about = dict.fromkeys(("claims", "pair", "objects", "protocol", "commit", "date"), "x")
    about |= {name: [] for name in ("seeds", "hardware", "runs", "memory")}
    text = page(claims, about, found, {}, [], {})
    groups = {claim.group.title() for claim in claims.claims.values()}
    assert {word for word in ("Claims", "Goals", "Controls") if f"\n## {word}\n" in text} == groups


def test_every_pair_has_its_line() -> None:
    about = [line for line in lines(ABSTRACT, [], {}) if line.claim == "g" and line.rule == "one_better"]
    assert [line.one.pair for line in about] == [line.other.pair for line in about]
    assert len(about) == 4 and all(line.one.pair in line.statement for line in about)
