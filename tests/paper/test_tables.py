"""Tables from hand-written records: numbers, intervals, what is bold, controls, twins, what is refused."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from aligncvc.config.jobs.paper import PaperJob
from aligncvc.config.paper_job import paper_job
from aligncvc.config.plan import Plan
from aligncvc.config.root import Config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.records import COLUMNS, Record, protocol_file, write_records
from aligncvc.evaluate.scores import Key, Scores
from aligncvc.evaluate.stats import paired_interval
from aligncvc.paper.__main__ import main
from aligncvc.paper.inputs import TableInputs
from aligncvc.paper.reported import Reported
from aligncvc.paper.table_formats import Block, Cell, Column, Table, as_latex, as_markdown, latex
from aligncvc.paper.table_layout import ProtocolFacts, lay_out, read_facts
from aligncvc.paper.table_rows import TableRow, TableRows, build_rows, describe, number, reference_row
from aligncvc.paper.tables import write_costs, write_table

FIRST = ["method", "pair", "steps", "objects", "psnr", "ssim", "lpips", "residual_psnr", "seconds", "peak_mb"]
OBJECTS = "abcdefgh"
CONTROLS = [f"control:{name}" for name in ("gt", "jitter", "shuffled", "copy")]
PAIR = "wonder3d+lgm"

# Object a has seeds 0 and 1, object b seed 0 only (its seed 1 failed), c failed; lpips has no value anywhere.
RECORDS = """
aware_4,wonder3d+lgm,eval,a,0,-1,-1,psnr,20,P,2,400
aware_4,wonder3d+lgm,eval,a,0,0,-1,psnr,99,P,2,400
aware_4,wonder3d+lgm,eval,a,1,-1,-1,psnr,22,P,4,500
aware_4,wonder3d+lgm,eval,b,0,-1,-1,psnr,30.123,P,6,600
aware_4,wonder3d+lgm,eval,a,0,-1,-1,ssim,0.5,P,2,400
aware_4,wonder3d+lgm,eval,b,0,-1,-1,ssim,nan,P,6,600
aware_4,wonder3d+lgm,eval,a,0,-1,-1,lpips,nan,P,2,400
aware_4,wonder3d+lgm,eval,a,0,-1,1,residual_psnr,5,P,2,400
aware_4,wonder3d+lgm,eval,a,0,-1,2,residual_psnr,15,P,2,400
aware_4,wonder3d+lgm,eval,b,0,-1,1,residual_psnr,6,P,6,600
aware_4,wonder3d+lgm,eval,b,0,-1,2,residual_psnr,16,P,6,600
aware_4,wonder3d+lgm,eval,a,0,-1,-1,seconds,2,P,2,400
aware_4,wonder3d+lgm,eval,a,1,-1,-1,seconds,4,P,4,500
aware_4,wonder3d+lgm,eval,b,0,-1,-1,seconds,6,P,6,600
aware_4,wonder3d+lgm,eval,a,0,-1,-1,peak_mb,400,P,2,400
aware_4,wonder3d+lgm,eval,a,1,-1,-1,peak_mb,500,P,4,500
aware_4,wonder3d+lgm,eval,b,0,-1,-1,peak_mb,600.4,P,6,600
aware_4,wonder3d+lgm,eval,a,0,-1,-1,failed,0,P,2,400
aware_4,wonder3d+lgm,eval,a,1,-1,-1,failed,0,P,4,500
aware_4,wonder3d+lgm,eval,b,0,-1,-1,failed,0,P,6,600
aware_4,wonder3d+lgm,eval,b,1,-1,-1,failed,1,P,nan,nan
aware_4,wonder3d+lgm,eval,c,0,-1,-1,failed,1,P,nan,nan
aware_4,wonder3d+lgm,eval,*,0,-1,1,kernel_lite0_renders,9,P,nan,nan
aware_4,wonder3d+lgm,eval,*,0,-1,2,kernel_lite0_renders,0.5,P,nan,nan
aware_4,wonder3d+lgm,eval,*,0,-1,2,kernel_lite0_renders_lo,0.4,P,nan,nan
aware_4,wonder3d+lgm,eval,*,0,-1,2,kernel_lite0_renders_hi,0.7,P,nan,nan
"""


def record(method: str, name: str, metric: str, value: float, step: int = -1, pair: str = PAIR) -> Record:
    pair = "control" if method.startswith("control:") else pair
    return Record(method, pair, "eval", name, 0, -1, step, metric, value, "P", 1.0, 100.0)


def rows_of(method: str, metric: str, values: Iterable[float], pair: str = PAIR) -> list[Record]:
    return [
        record(method, name, metric, float(v), pair=pair) for name, v in zip(OBJECTS, values, strict=False)
    ]


def built(job: PaperJob, table: str, records: list[Record]) -> TableRows:
    return build_rows(job, table, Scores(records, job.seed))


def write(job: PaperJob, table: str, metrics: list[Path], out: Path) -> TableRows:
    return write_table(job, TableInputs(table=table, metrics=metrics), out)


def keyed(table: TableRows) -> dict[str, TableRow]:
    return {row.key.method: row for row in table.rows}


def write_csv(path: Path, text: str) -> Path:
    path.write_text(",".join(COLUMNS) + "\n" + text.strip() + "\n")
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "aware_4.csv", RECORDS)


@pytest.fixture(scope="module")
def job() -> PaperJob:
    return paper_job(Plan(Config()))


def with_paper(job: PaperJob, **paper: object) -> Config:
    return job.model_copy(update={"paper": job.paper.model_copy(update=paper)})


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def in_bold(found: TableRows, metric: str) -> list[str]:
    return [row.key.method for row in found.rows if metric in row.best]


NOISE = np.random.default_rng(3).normal(size=(4, len(OBJECTS)))


# --- numbers ---------------------------------------------------------------------------------------------


def test_golden_row(job: PaperJob, records: Path, tmp_path: Path) -> None:
    write(job, "table1", [records], tmp_path / "table1.csv")
    lines = read_table(tmp_path / "table1.csv")
    assert list(lines[0])[: len(FIRST)] == FIRST
    row = next(line for line in lines if line["method"] == "aware_4")
    assert row["psnr"] == "25.56"  # ((20 + 22) / 2 + 30.123) / 2
    assert 20.0 <= float(row["psnr_lo"]) < 25.56 < float(row["psnr_hi"]) <= 30.13
    assert (row["ssim"], row["ssim_lo"], row["ssim_hi"]) == ("0.5000", "n/a", "n/a")  # one object
    assert row["lpips"] == row["lpips_lo"] == "n/a"
    assert row["residual_psnr"] == "15.50"  # the last step only
    assert row["seconds"] == "4.50" and row["peak_mb"] == "525"  # medians, of two objects
    assert (row["pair"], row["steps"], row["alignment"]) == ("wonder3d+lgm", "4", "none")
    assert (row["objects"], row["objects_total"], row["seeds"], row["failed"]) == ("2", "3", "2", "2")
    renders = [float(row[f"kernel_lite0_renders{end}"]) for end in ("", "_lo", "_hi")]
    assert renders == [0.5, 0.4, 0.7]  # of the last step; the set brings its interval along
    measured = {name for name in row if f"{name}_lo" in row}
    assert {"psnr", "seconds", "kernel_lite0_renders"} <= measured and all(f"{n}_hi" in row for n in measured)


def test_failures_show_as_n_of_n(job: PaperJob, records: Path, tmp_path: Path) -> None:
    write(job, "table1", [records], tmp_path / "t.csv")
    text = (tmp_path / "t.md").read_text()
    assert re.search(r"\| aware_4 +\| +4 \| +2 of 3 \|", text)
    assert re.search(r"\| two_stage_50 +\| +50 \| +0 of 3 \|", text)


def test_numbers_have_their_metric_s_decimals() -> None:
    assert number("psnr", 20.0) == "20.00"
    assert number("ssim", 0.12345) == "0.1235"
    assert number("peak_mb", 499.6) == "500"
    assert number("ssim", -1e-9) == "0.0000"
    assert number("psnr", math.nan) == "n/a"


# --- rows ------------------------------------------------------------------------------------------------


def test_rows_and_their_order(job: PaperJob) -> None:
    known = rows_of("aware_4", "psnr", [20, 21]) + rows_of("control:gt", "psnr", [30, 31])
    theirs = rows_of("theirs", "psnr", [1, 2]) + rows_of("control:own", "psnr", [1, 2])
    one = built(job, "table1", theirs + known)
    expected = ["two_stage_50", "two_stage_4", "aware_4", "aligncvc_4", "theirs", *CONTROLS, "control:own"]
    assert [row.key.method for row in one.rows] == expected
    assert [row.steps for row in one.rows][3:6] == [4, None, None]
    assert one.rows[0].values == {} and one.rows[0].objects == 0


def test_the_ablation_goes_by_alignment_then_steps(job: PaperJob) -> None:
    found = built(job, "table2", rows_of("soft_4", "psnr", [20, 21]))
    methods = [row.key.method for row in found.rows]
    none, both = ([f"{kind}_{k}" for k in (1, 2, 4, 8)] for kind in ("aware", "aligncvc"))
    both.insert(2, "short_4")
    assert methods == [*none, "soft_4", "hard_4", *both, *CONTROLS]
    assert [row.alignment for row in found.rows][3:7] == ["none", "soft", "hard", "both"]


def test_records_of_methods_outside_the_table_change_nothing(job: PaperJob) -> None:
    known = rows_of("aware_4", "psnr", [20, 21])
    other = rows_of("soft_4", "psnr", [50, 51])
    assert built(job, "table1", known + other) == built(job, "table1", known)


def test_the_last_kept_step_of_each_method_counts(job: PaperJob) -> None:
    steps = [record("aware_4", name, "residual_psnr", 10.0 + k, k) for name in "ab" for k in (1, 2, 3, 4)]
    once = [record("aligncvc_4", name, "residual_psnr", 11.0, 1) for name in "ab"]
    found = {row.key.method: row for row in built(job, "table1", steps + once).rows}
    assert found["aware_4"].values["residual_psnr"].centre == 14.0
    assert found["aligncvc_4"].values["residual_psnr"].centre == 11.0


def test_seconds_are_medians_and_bold_only_where_cpu_seconds_agree(job: PaperJob) -> None:
    """Two methods of the same work, of which one met a busy hour: no object of it was as fast."""
    quiet, busy = [2.0, 2.1, 1.9, 2.0, 2.2, 2.1, 2.0, 1.9], [2.9, 3.1, 30.0, 3.0, 3.2, 3.1, 3.0, 2.8]
    same = [2.0, 2.0, 2.1, 1.9, 2.0, 2.1, 2.0, 2.1]
    wall = rows_of("aligncvc_4", "seconds", quiet) + rows_of("aware_4", "seconds", busy)
    cpu = rows_of("aligncvc_4", "cpu_seconds", quiet) + rows_of("aware_4", "cpu_seconds", same)
    assert keyed(built(job, "table1", wall))["aware_4"].values["seconds"].centre == pytest.approx(3.05)
    assert in_bold(built(job, "table1", wall), "seconds") == ["aligncvc_4"]  # one clock: nothing to doubt by
    noise = built(job, "table1", wall + cpu)
    assert in_bold(noise, "seconds") == in_bold(noise, "cpu_seconds") == []
    more = rows_of("aware_4", "cpu_seconds", [v + 1 for v in same])
    work = built(job, "table1", wall + cpu[: len(quiet)] + more)
    assert in_bold(work, "seconds") == in_bold(work, "cpu_seconds") == ["aligncvc_4"]


# --- several pairs ---------------------------------------------------------------------------------------

SECOND = "sv3d+lgm"


@pytest.fixture(scope="module")
def two_pairs(job: PaperJob) -> PaperJob:
    """The demo's methods on two pairs."""
    facts = [job.pairs[0], job.pairs[0].model_copy(update={"name": SECOND})]
    rows = [*job.rows, *(row.model_copy(update={"pair": SECOND}) for row in job.rows)]
    return job.model_copy(update={"pairs": facts, "rows": rows})


def of_two_pairs() -> list[Record]:
    first = rows_of("two_stage_50", "psnr", [20, 21, 23]) + rows_of("aware_4", "psnr", [21, 23, 24])
    second = rows_of("two_stage_50", "psnr", [10, 12, 13], SECOND) + rows_of(
        "aware_4", "psnr", [12, 13, 15], SECOND
    )
    return [*first, *second, *rows_of("control:gt", "psnr", [30, 31, 32])]


def test_two_pairs_under_one_method_are_two_rows(two_pairs: PaperJob, job: PaperJob, tmp_path: Path) -> None:
    write_records(tmp_path / "m.csv", of_two_pairs())
    table = write(two_pairs, "table1", [tmp_path / "m.csv"], tmp_path / "t.csv")
    means = {row.key: row.values["psnr"].centre for row in table.rows if row.values}
    assert means[Key(PAIR, "aware_4")] == pytest.approx(68 / 3) and means[Key(SECOND, "aware_4")] == 40 / 3
    order = [Key(pair, row.method) for pair in (PAIR, SECOND) for row in job.rows if "table1" in row.tables]
    assert [row.key for row in table.rows] == [*order, *(Key("control", name) for name in CONTROLS)]
    lines = read_table(tmp_path / "t.csv")
    assert [(line["pair"], line["method"]) for line in lines] == [tuple(row.key) for row in table.rows]
    # each pair's numbers are those that it has alone
    alone = built(job, "table1", [r for r in of_two_pairs() if r.pair != SECOND])
    assert keyed(alone)["aware_4"].values == next(r for r in table.rows if r.key == (PAIR, "aware_4")).values


def test_each_pair_is_compared_with_its_own_reference(two_pairs: PaperJob) -> None:
    table = built(two_pairs, "table1", of_two_pairs())
    compared = {row.key: row.compared["psnr"].difference.centre for row in table.rows if row.compared}
    assert compared == {(PAIR, "aware_4"): pytest.approx(4 / 3), (SECOND, "aware_4"): pytest.approx(5 / 3)}
    assert next(row for row in table.rows if row.key.control).reference is None
    laid = lay_out(two_pairs, table, ProtocolFacts({}, {}))
    block = next(block for block in laid.blocks if block.title.startswith("Against"))
    assert block.title == "Against two_stage_50 of the same pair, paired" and block.controls == 0
    assert [[cell.text for cell in row[:2]] for row in block.rows if row[2].text != "n/a"] == [
        ["aware_4", PAIR], ["aware_4", SECOND],
    ]  # fmt: skip
    assert "Pairs: wonder3d+lgm; sv3d+lgm." in laid.notes[0]


def test_the_ablation_is_sorted_pair_by_pair(two_pairs: PaperJob) -> None:
    rows = built(two_pairs, "table2", of_two_pairs()).rows
    half = (len(rows) - len(CONTROLS)) // 2
    assert [row.key.method for row in rows[:half]] == [row.key.method for row in rows[half : 2 * half]]
    assert {row.key.pair for row in rows[:half]} == {PAIR}


def test_one_pair_has_no_column_for_it(job: PaperJob) -> None:
    laid = lay_out(job, built(job, "table1", rows_of("aware_4", "psnr", [1, 2])), ProtocolFacts({}, {}))
    assert all("Pair" not in [column.heading for column in block.columns] for block in laid.blocks)


def test_records_given_twice_are_refused(job: PaperJob, tmp_path: Path) -> None:
    write_records(tmp_path / "m.csv", of_two_pairs())
    with pytest.raises(UserError, match=f"both hold psnr of a by .*{re.escape(PAIR)}"):
        write(job, "table1", [tmp_path / "m.csv"] * 2, tmp_path / "t.csv")


# --- bold ------------------------------------------------------------------------------------------------


def methods_at(gap: float, spread: float, metric: str = "psnr") -> list[Record]:
    """aligncvc_4 stands `gap` from two others, with `spread` of the paired differences."""
    base = 20 + 3 * NOISE[0]
    return [
        *rows_of("two_stage_50", metric, base),
        *rows_of("aware_4", metric, base + 0.1 * spread * NOISE[1]),
        *rows_of("aligncvc_4", metric, base + gap + spread * NOISE[2]),
    ]


def test_bold_where_every_paired_interval_excludes_zero(job: PaperJob) -> None:
    found = built(job, "table1", methods_at(1.0, 0.2))
    assert in_bold(found, "psnr") == ["aligncvc_4"]
    intervals = {row.key.method: row.values["psnr"] for row in found.rows if row.values}
    assert (
        intervals["aware_4"].hi > intervals["aligncvc_4"].lo
    )  # the pairs tell them apart, not the intervals


def test_no_bold_inside_the_interval(job: PaperJob) -> None:
    records = methods_at(0.1, 2.0)
    found = built(job, "table1", records)
    first = max((r for r in found.rows if r.values), key=lambda r: r.values["psnr"].centre)
    assert in_bold(found, "psnr") == []
    others = [r for r in found.rows if r.values and r is not first]
    scores = Scores(records, 0)
    gaps = [paired_interval(*(scores.values(r.key, "psnr") for r in (first, o)), 0, "x") for o in others]
    assert any(gap.lo < 0 < gap.hi for gap in gaps)
    text = as_markdown(lay_out(job, found, ProtocolFacts({}, {})))
    assert "**2" not in text and "support no method as best in any column" in text


def test_bold_needs_to_beat_every_row(job: PaperJob) -> None:
    """Two methods above all others and alike: neither is bold."""
    records = methods_at(1.0, 0.2) + rows_of("two_stage_4", "psnr", 21 + 3 * NOISE[0] + 0.2 * NOISE[3])
    assert in_bold(built(job, "table1", records), "psnr") == []


def test_lower_is_better_where_the_catalogue_says_so(job: PaperJob) -> None:
    lpips = built(job, "table1", methods_at(-1.0, 0.2, "lpips"))
    assert in_bold(lpips, "lpips") == ["aligncvc_4"]
    assert in_bold(built(job, "table1", methods_at(1.0, 0.2, "lpips")), "lpips") == []
    neither = built(job, "table1", methods_at(-1.0, 0.2, "delta_psnr"))
    assert in_bold(neither, "delta_psnr") == []


def test_geometry_s_direction_comes_from_its_name(job: PaperJob) -> None:
    for metric, gap in (("chamfer_half_sum@none", -1), ("f_0.1@yaw", 1), ("volume_iou@none", 1)):
        assert in_bold(built(job, "table1", methods_at(gap, 0.2, metric)), metric) == ["aligncvc_4"]
        assert in_bold(built(job, "table1", methods_at(-gap, 0.2, metric)), metric) == []
    headings = [describe(name).arrow for name in ("chamfer_half_sum@none", "f_0.1@scale_centre")]
    assert headings == ["Chamfer half sum, aligned: none ↓", "F-score at 0.1, aligned: scale centre ↑"]
    assert describe("ladder_scale@yaw").better == describe("something").better == 0


def test_controls_are_never_bold_and_take_it_from_nobody(job: PaperJob) -> None:
    records = methods_at(1.0, 0.2) + rows_of("control:gt", "psnr", [40.0] * 8)
    assert in_bold(built(job, "table1", records), "psnr") == ["aligncvc_4"]
    alone = rows_of("aligncvc_4", "psnr", range(8)) + rows_of("control:gt", "psnr", range(8))
    assert in_bold(built(job, "table1", alone), "psnr") == []


def test_one_object_supports_nothing(job: PaperJob) -> None:
    records = [record(m, "a", "psnr", v) for m, v in (("aware_4", 10.0), ("aligncvc_4", 30.0))]
    assert in_bold(built(job, "table1", records), "psnr") == []


def test_set_level_metrics_are_never_bold(job: PaperJob) -> None:
    name = "frechet_lite0_renders"
    values = (("aware_4", 3.0), ("aligncvc_4", 1.0))
    records = [record(m, "*", name, v) for m, v in values] + methods_at(1.0, 0.2)
    found = built(job, "table1", records)
    assert in_bold(found, name) == [] and found.rows[3].values[name].centre == 1.0
    assert found.rows[3].total == 8  # the set is no object


# --- comparisons -----------------------------------------------------------------------------------------


def test_the_reference_row(job: PaperJob) -> None:
    assert reference_row(job, "table1", PAIR) == (PAIR, "two_stage_50")
    assert reference_row(job, "table2", PAIR) == (
        PAIR,
        "aware_4",
    )  # four rows have 4 steps, two each other number
    named = with_paper(job, reference={"table1": "aware_4"})
    assert reference_row(named, "table1", PAIR) == (PAIR, "aware_4")
    with pytest.raises(UserError, match=r"paper.reference.table1.*'soft_4'"):
        reference_row(with_paper(job, reference={"table1": "soft_4"}), "table1", PAIR)


def test_differences_and_win_rates(job: PaperJob, tmp_path: Path) -> None:
    better = [1, 1, 1, 1, 1, 0, -1, 1]
    lpips = rows_of("two_stage_50", "lpips", [0.5] * 8)
    lpips += rows_of("aligncvc_4", "lpips", [0.5 - 0.1 * b for b in better])
    write_records(tmp_path / "m.csv", lpips)
    found = write(job, "table1", [tmp_path / "m.csv"], tmp_path / "t.csv")
    lines = {line["method"]: line for line in read_table(tmp_path / "t.csv")}
    row = lines["aligncvc_4"]
    assert (row["lpips_wins"], row["lpips_ties"], row["lpips_pairs"]) == ("6", "1", "8")
    assert row["reference"] == "two_stage_50" and row["lpips_vs_reference"] == "-0.0625"
    assert float(row["lpips_vs_reference_lo"]) < -0.0625 < float(row["lpips_vs_reference_hi"])
    assert row["psnr_wins"] == "" and lines["two_stage_50"]["lpips_wins"] == ""
    assert {row.reference for row in found.rows} == {Key(PAIR, "two_stage_50")}
    text = (tmp_path / "t.md").read_text()
    assert "Against two_stage_50, paired" in text and "6 of 8 (1 tied)" in text


def test_without_the_reference_s_records_there_is_no_comparison(job: PaperJob) -> None:
    found = built(job, "table1", rows_of("aware_4", "psnr", [1, 2]))
    assert all(row.reference is None for row in found.rows)
    assert "Against" not in as_markdown(lay_out(job, found, ProtocolFacts({}, {})))


# --- marks, notes, published numbers ---------------------------------------------------------------------


def test_metrics_that_do_not_discriminate_are_marked(job: PaperJob, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("metric,discriminates,why\npsnr,yes,\nresidual_psnr,no,x\n")
    facts = read_facts([], tmp_path / "d.csv")
    records = methods_at(1.0, 0.2) + methods_at(1.0, 0.2, "residual_psnr")
    found = built(job, "table1", records)
    laid = lay_out(job, found, facts)
    for text in (as_markdown(laid), as_latex(laid).replace(r"$\dagger$", "†").replace("$\\uparrow$", "↑")):
        assert "Residual PSNR ↑ †" in text and "PSNR ↑ † " in text and "LPIPS ↓ †" not in text
    assert "† does not discriminate GT > jittered > shuffled on this rig: Residual PSNR." in laid.notes
    (tmp_path / "d.csv").write_text("metric\npsnr\n")
    with pytest.raises(UserError, match="which metrics discriminate"):
        read_facts([], tmp_path / "d.csv")


def test_what_is_missing_has_its_reason(job: PaperJob, records: Path) -> None:
    metrics = {"lpips": "n/a (weights missing)", "psnr": {"cap": 1}}
    facts = {"name": "demo", "hash": "abc", "metrics": metrics, "unavailable": {"dists": "images too small"}}
    protocol_file(records).write_text(json.dumps(facts))
    facts = read_facts([records])
    assert facts.reasons == {"lpips": "n/a (weights missing)", "dists": "n/a (images too small)"}
    laid = lay_out(job, built(job, "table1", read(records)), facts)
    assert "LPIPS: n/a (weights missing)." in laid.notes and "DISTS: n/a (images too small)." in laid.notes
    assert any(note.startswith("No records: two_stage_50, two_stage_4") for note in laid.notes)
    assert "Protocol: demo-abc." in laid.notes[0]


def read(path: Path) -> list[Record]:
    from aligncvc.evaluate.records import read_records

    return read_records(path)


def published(kind: str, metric: str = "psnr", text: str = "21.5") -> Reported:
    return Reported("Theirs", metric, text, "dB", "GSO", kind, "Paper", "Table 1", "a note", "https://x.org")


@pytest.mark.parametrize(
    ("kind", "entry", "shown"),
    [
        ("gso30", published("gso30"), True),
        ("demo", published("gso30"), False),
        ("gso30", published("gso300"), False),
        ("", published(""), False),
        ("gso30", published("gso30", text=""), False),
        ("gso30", published("gso30", metric="gpu_gb"), False),
    ],
)
def test_published_numbers_stand_only_beside_their_class(
    job: PaperJob, kind: str, entry: Reported, shown: bool
) -> None:
    facts = ProtocolFacts({"protocol_class": kind}, {}, reported=(entry,))
    laid = lay_out(job, built(job, "table1", methods_at(1.0, 0.2)), facts)
    text = as_markdown(laid)
    assert ("reported: Theirs" in text) == ("21.5" in text) == shown
    if not shown:
        assert "No published number stands beside these" in laid.notes[-1]
        assert f"({kind or 'unknown'})" in laid.notes[-1]


def test_the_floor_of_a_distance_is_a_note(job: PaperJob) -> None:
    records = [record("aware_4", "*", name, 0.25) for name in ("kernel_lite0_floor", "frechet_lite0_floor")]
    found = built(job, "table1", records + methods_at(1.0, 0.2))
    (note,) = [n for n in lay_out(job, found, ProtocolFacts({}, {})).notes if "floor" in n]
    assert note.startswith("Kernel distance (Lite0) floor") and "0.25" in note  # no Fréchet column is shown


def test_columns_are_the_configuration_s(job: PaperJob) -> None:
    chosen = with_paper(job, columns=["ssim", "f_0.1@none", "psnr"])
    found = built(chosen, "table1", methods_at(1.0, 0.2))
    image, geometry, *_ = lay_out(chosen, found, ProtocolFacts({}, {})).blocks
    assert [c.heading for c in image.columns][3:] == ["SSIM ↑", "PSNR ↑"]
    assert geometry.title == "Geometry" and len(geometry.columns) == 2
    with pytest.raises(UserError, match="'pnsr'"):
        lay_out(with_paper(job, columns=["pnsr"]), found, ProtocolFacts({}, {}))


# --- formats ---------------------------------------------------------------------------------------------

PLAIN = Table(
    (
        Block(
            "One | two",
            (Column("Method", words=True), Column("PSNR ↑", mark="†")),
            (
                (Cell("a_b"), Cell("1.00", "0.50", "1.50", best=True)),
                (Cell("control:gt"), Cell("2.00", "2.00", "2.00")),
            ),
            controls=1,
        ),
        Block("Three", (Column("Method", words=True), Column("N")), ((Cell("x & y"), Cell("n/a")),)),
    ),
    ("† is 100 % a note.",),
)


def test_markdown() -> None:
    expected = """\
**One \\| two**

| Method     |              PSNR ↑ † |
| ---------- | --------------------: |
| a_b        | **1.00** [0.50, 1.50] |
| *controls* |                       |
| control:gt |                  2.00 |

**Three**

| Method |   N |
| ------ | --: |
| x & y  | n/a |

- † is 100 % a note.
"""
    assert as_markdown(PLAIN) == expected


def test_latex() -> None:
    text = as_latex(PLAIN)
    body = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}\n(.*?)\\end\{tabular\}\n", text, re.DOTALL)
    assert [columns for columns, _ in body] == ["lr", "lr"]
    first = body[0][1].splitlines()
    assert first == [
        "\\toprule",
        "Method & PSNR $\\uparrow$ $\\dagger$ \\\\",
        "\\midrule",
        "a\\_b & \\textbf{1.00}\\,{\\scriptsize [0.50, 1.50]} \\\\",
        "\\midrule",
        "control:gt & 2.00 \\\\",
        "\\bottomrule",
    ]
    assert "x \\& y & n/a \\\\" in body[1][1] and "$\\dagger$ is 100 \\% a note." in text
    assert text.count("{") == text.count("}") and text.count("\\begin") == text.count("\\end")


def test_latex_is_escaped_once() -> None:
    assert latex(r"a_b & 5% \x{}") == r"a\_b \& 5\% \textbackslash{}x\{\}"


def test_twins_of_a_real_table_are_well_formed(job: PaperJob, records: Path, tmp_path: Path) -> None:
    write(job, "table2", [records], tmp_path / "t.csv")
    for part in (tmp_path / "t.md").read_text().split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) <= 1  # the pipes stand below each other
    text = (tmp_path / "t.tex").read_text()
    blocks = re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(blocks) >= 4 and "Pair: wonder3d+lgm." in text and "aware\\_4" in text
    for columns, body in blocks:
        for line in body.splitlines():
            if not line.startswith(("\\toprule", "\\midrule", "\\bottomrule")):
                assert line.endswith(" \\\\") and line.count(" & ") == len(columns) - 1, line
    assert not re.search(r"[^\x00-\x7fé]", text)  # whatever LaTeX cannot set was replaced
    data = json.loads((tmp_path / "t.json").read_text())
    for block in data["blocks"]:
        assert all(len(row) == len(block["columns"]) for row in block["rows"])
        names = [row[0]["text"] for row in block["rows"]]
        closing = names[len(names) - block["controls"] :]
        assert closing == [name for name in names if name.startswith("control:")]
    assert data["blocks"][0]["controls"] == 4


def test_a_second_run_writes_the_same_bytes(job: PaperJob, tmp_path: Path) -> None:
    records = methods_at(1.0, 0.2) + methods_at(-0.5, 2.0, "lpips")
    write_records(tmp_path / "one.csv", records)
    write_records(tmp_path / "two.csv", records[::-1])  # the order of records says nothing
    for name in ("one", "two"):
        write(job, "table1", [tmp_path / f"{name}.csv"], tmp_path / name / "t.csv")
    for suffix in ("csv", "md", "tex", "json"):
        first, second = (tmp_path / name / f"t.{suffix}" for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


# --- cost ------------------------------------------------------------------------------------------------


def cost_records(method: str) -> list[Record]:
    """Of three objects, one of which met a busy moment."""
    parts = {"seconds": 3.0, "seconds_generator": 2.0, "seconds_render": 1.0, "cpu_seconds": 5.0}
    return [
        record(method, name, metric, value + more)
        for metric, value in parts.items()
        for name, more in zip("abc", (0.0, 1.0, 90.0), strict=True)
    ]


def manifest(folder: Path, method: str, **facts: str) -> Path:
    path = folder / f"{method.replace(':', '-')}.json"
    pair = "control" if method.startswith("control:") else PAIR
    path.write_text(json.dumps({"pair": pair, "method": method, "entries": [], **facts}))
    return path


def test_cost_table(job: PaperJob, tmp_path: Path) -> None:
    write_records(tmp_path / "m.csv", cost_records("aware_4") + cost_records("control:gt"))
    samples = [manifest(tmp_path, "aware_4", hardware="A chip, 2 cores"), manifest(tmp_path, "control:gt")]
    write_costs(job, [tmp_path / "m.csv"], samples, tmp_path / "costs.csv")
    lines = {line["method"]: line for line in read_table(tmp_path / "costs.csv")}
    row = lines["aware_4"]
    assert (row["seconds"], row["seconds_generator"], row["cpu_seconds"]) == ("4.00", "3.000", "6.00")
    assert row["hardware"] == "A chip, 2 cores" and lines["control:gt"]["hardware"] == "unknown"
    assert row["seconds_encode"] == "n/a" and list(lines)[-1] == "control:gt"
    text = (tmp_path / "costs.md").read_text()
    assert "Seconds, generator ↓" in text and "Seconds, encode" not in text
    assert "CPU seconds ↓" in text and "medians over objects" in text
    assert "| A chip, 2 cores |" in text  # two machines: a column
    write_costs(job, [tmp_path / "m.csv"], [samples[0]] * 2, tmp_path / "costs.csv")


def test_one_machine_is_a_note(job: PaperJob, tmp_path: Path) -> None:
    write_records(tmp_path / "m.csv", cost_records("aware_4"))
    sample = manifest(tmp_path, "aware_4", hardware="A chip")
    write_costs(job, [tmp_path / "m.csv"], [sample], tmp_path / "costs.csv")
    assert "- Hardware: A chip.\n" in (tmp_path / "costs.md").read_text()


def test_costs_refuse_what_they_are_not(job: PaperJob, tmp_path: Path) -> None:
    write_records(tmp_path / "m.csv", rows_of("aware_4", "psnr", [1, 2]))
    with pytest.raises(UserError, match="no record is a cost"):
        write_costs(job, [tmp_path / "m.csv"], [], tmp_path / "costs.csv")
    write_records(tmp_path / "m.csv", cost_records("aware_4"))
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(UserError, match=r"bad.json is not a readable sample manifest"):
        write_costs(job, [tmp_path / "m.csv"], [tmp_path / "bad.json"], tmp_path / "costs.csv")


# --- refusals and commands -------------------------------------------------------------------------------


def test_records_of_two_protocols_are_refused(job: PaperJob, records: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "soft_4.csv", RECORDS.replace(",P,", ",Q,"))
    with pytest.raises(UserError, match=r"protocol P.*protocol Q"):
        write(job, "table2", [records, other], tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_unknown_table_and_no_records_are_refused(job: PaperJob) -> None:
    with pytest.raises(UserError, match="'table9'"):
        built(job, "table9", rows_of("aware_4", "psnr", [1]))
    with pytest.raises(UserError, match="no record is of a method that table1 shows"):
        built(job, "table1", rows_of("soft_4", "psnr", [1]))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["paper", *words])
        cli(main)

    return run


def test_commands_of_the_workflow(records: Path, tmp_path: Path, command: Callable[..., None]) -> None:
    paper_job(Plan(Config())).write(tmp_path / "paper.json")
    settings, out = ("--settings", str(tmp_path / "paper.json")), str(tmp_path / "table1.csv")
    command("table", *settings, "--table", "table1", "--metrics", str(records), "--out", out)
    assert {path.suffix for path in tmp_path.glob("table1.*")} == {".csv", ".md", ".tex", ".json"}
    sample, out = manifest(tmp_path, "aware_4"), str(tmp_path / "costs.csv")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"seed": 1}))
    config = ("--config", str(tmp_path / "c.yaml"))
    command("costs", *config, "--metrics", str(records), "--samples", str(sample), "--out", out)
    assert {path.suffix for path in tmp_path.glob("costs.*")} == {".csv", ".md", ".tex", ".json"}


def test_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("{}")
    config, out = ("--config", str(tmp_path / "c.yaml")), str(tmp_path / "t")
    with pytest.raises(SystemExit) as exit_:
        command("table", *config, "--table", "table1", "--metrics", str(tmp_path / "none.csv"), "--out", out)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "none.csv" in error
