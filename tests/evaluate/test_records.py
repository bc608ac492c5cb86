"""Records survive the disk, and records of different protocols never meet."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from aligncvc.errors import UserError
from aligncvc.evaluate.records import (
    COLUMNS,
    Record,
    concat,
    protocol_file,
    read_records,
    write_records,
)

RECORD = Record("ours_4", "demo, (A + B)", "eval", "chair-1", 0, -1, 2, "psnr", 1 / 3, "abc123", 1.5, 512.0)


def test_columns_are_the_published_schema() -> None:
    assert (
        ",".join(COLUMNS) == "method,pair,dataset,object,seed,view,step,metric,value,protocol,seconds,peak_mb"
    )


def test_round_trip(tmp_path: Path) -> None:
    records = [
        RECORD,
        replace(RECORD, view=3, value=1e-12),
        replace(RECORD, value=math.nan, seconds=math.nan),
    ]
    write_records(tmp_path / "a.csv", records)
    found = read_records(tmp_path / "a.csv")
    assert found[0] == replace(RECORD, value=pytest.approx(1 / 3, rel=1e-8))
    assert found[1].value == 1e-12 and found[1].view == 3
    assert math.isnan(found[2].value) and math.isnan(found[2].seconds)


def test_concat_keeps_order_and_refuses_other_protocols(tmp_path: Path) -> None:
    write_records(tmp_path / "a.csv", [RECORD])
    write_records(tmp_path / "b.csv", [replace(RECORD, method="other")])
    assert [r.method for r in concat([tmp_path / "b.csv", tmp_path / "a.csv"])] == ["other", "ours_4"]
    write_records(tmp_path / "c.csv", [replace(RECORD, protocol="def456")])
    with pytest.raises(UserError, match=r"a\.csv \(protocol abc123\) and .*c\.csv \(protocol def456\)"):
        concat([tmp_path / "a.csv", tmp_path / "c.csv"])
    protocol_file(tmp_path / "a.csv").write_text(json.dumps({"background": 1, "seeds": [0]}))
    protocol_file(tmp_path / "c.csv").write_text(json.dumps({"background": 0, "seeds": [0]}))
    with pytest.raises(UserError, match=r"differently \(background\)"):
        concat([tmp_path / "a.csv", tmp_path / "c.csv"])


def test_concat_refuses_other_ground_truth(tmp_path: Path) -> None:
    def file(name: str, **pixels: str) -> Path:
        write_records(tmp_path / name, [replace(RECORD, method=name)])
        facts = {"hash": "abc123", "ground_truth_sha256": pixels}
        protocol_file(tmp_path / name).write_text(json.dumps(facts))
        return tmp_path / name

    one, same = file("a.csv", chair="1" * 64, cup="2" * 64), file("b.csv", chair="1" * 64, cup="2" * 64)
    unread = file("c.csv", chair="1" * 64)  # the cup could not be read then; its records say failed
    assert len(concat([one, same, unread])) == 3
    other = file("d.csv", chair="1" * 64, cup="3" * 64)
    with pytest.raises(UserError, match=r"a\.csv and .*d\.csv were .* renders of cup \(222222222222 and 333"):
        concat([one, unread, other])
    assert len(concat([unread, other])) == 2
    protocol_file(one).unlink()
    assert len(concat([one, other])) == 2


def test_pairs_with_a_method_of_one_name_stay_apart_and_nothing_is_given_twice(tmp_path: Path) -> None:
    for name, change in {
        "a": {},
        "b": {"pair": "C + D"},
        "again": {"value": 0.5},
        "seed": {"seed": 1},
    }.items():
        write_records(tmp_path / f"{name}.csv", [replace(RECORD, **change)])  # type: ignore[arg-type]
    both = concat([tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "seed.csv"])
    assert [(r.pair, r.method, r.seed) for r in both] == [
        (RECORD.pair, "ours_4", 0), ("C + D", "ours_4", 0), (RECORD.pair, "ours_4", 1),
    ]  # fmt: skip
    with pytest.raises(
        UserError, match=r"a\.csv and .*again\.csv both hold psnr of chair-1 by ours_4 of the pair"
    ):
        concat([tmp_path / "a.csv", tmp_path / "again.csv"])


def test_one_file_of_two_protocols_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "a.csv", [RECORD, replace(RECORD, protocol="def456")])
    with pytest.raises(UserError, match="differently"):
        concat([tmp_path / "a.csv"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("method,", "methods,", "columns"),
        ("ours_4,", "", "line 2"),
        (",-1,2,", ",-1,two,", "line 2"),
        ("0.333333333", "inf", "infinite"),
    ],
)
def test_broken_files_are_refused_with_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_records(tmp_path / "a.csv", [RECORD])
    text = (tmp_path / "a.csv").read_text()
    assert old in text
    (tmp_path / "a.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read_records(tmp_path / "a.csv")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv"):
        concat([tmp_path / "none.csv"])
