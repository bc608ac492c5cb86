"""Tables from hand-written records: the numbers, the columns, the twins, what is refused."""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path

import pytest
import yaml

from aligncvc.config import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.records import COLUMNS, Record, read_records
from aligncvc.paper.__main__ import main
from aligncvc.paper.tables import LABELS, as_latex, build_table, columns, latex, number, write_table

FIRST = ["method", "pair", "steps", "objects", "psnr", "ssim", "lpips", "residual_psnr", "seconds", "peak_mb"]
REST = ["fg_psnr", "views_psnr", "residual_ssim", "residual_lpips", "network_calls", "seeds", "failed"]

# Object a has seeds 0 and 1, object b seed 0 only (its seed 1 failed); lpips has no value anywhere.
RECORDS = """
aware_4,demo & co,eval,a,0,-1,-1,psnr,20,P,2,400
aware_4,demo & co,eval,a,0,0,-1,psnr,99,P,2,400
aware_4,demo & co,eval,a,1,-1,-1,psnr,22,P,4,500
aware_4,demo & co,eval,b,0,-1,-1,psnr,30.123,P,6,600
aware_4,demo & co,eval,a,0,-1,-1,ssim,0.5,P,2,400
aware_4,demo & co,eval,b,0,-1,-1,ssim,nan,P,6,600
aware_4,demo & co,eval,a,0,-1,-1,lpips,nan,P,2,400
aware_4,demo & co,eval,a,0,-1,1,residual_psnr,5,P,2,400
aware_4,demo & co,eval,a,0,-1,2,residual_psnr,15,P,2,400
aware_4,demo & co,eval,b,0,-1,1,residual_psnr,6,P,6,600
aware_4,demo & co,eval,b,0,-1,2,residual_psnr,16,P,6,600
aware_4,demo & co,eval,a,0,-1,-1,seconds,2,P,2,400
aware_4,demo & co,eval,a,1,-1,-1,seconds,4,P,4,500
aware_4,demo & co,eval,b,0,-1,-1,seconds,6,P,6,600
aware_4,demo & co,eval,a,0,-1,-1,peak_mb,400,P,2,400
aware_4,demo & co,eval,a,1,-1,-1,peak_mb,500,P,4,500
aware_4,demo & co,eval,b,0,-1,-1,peak_mb,600.4,P,6,600
aware_4,demo & co,eval,a,0,-1,-1,failed,0,P,2,400
aware_4,demo & co,eval,a,1,-1,-1,failed,0,P,4,500
aware_4,demo & co,eval,b,0,-1,-1,failed,0,P,6,600
aware_4,demo & co,eval,b,1,-1,-1,failed,1,P,nan,nan
"""


def write_csv(path: Path, text: str) -> Path:
    path.write_text(",".join(COLUMNS) + "\n" + text.strip() + "\n")
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "aware_4.csv", RECORDS)


@pytest.fixture
def config() -> Config:
    return load_config()


def read_table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.reader(handle))


def test_columns_are_the_issue_s_in_order() -> None:
    assert list(columns("table1")) == FIRST + REST
    assert list(columns("table2")) == [*FIRST, "alignment", *REST]
    assert set(LABELS) == {*columns("table2")}


def test_golden_row(config: Config, records: Path, tmp_path: Path) -> None:
    write_table(config, "table1", [records], tmp_path / "table1.csv")
    table = read_table(tmp_path / "table1.csv")
    assert table[0] == FIRST + REST
    row = dict(zip(table[0], next(line for line in table if line[0] == "aware_4"), strict=True))
    assert row == {
        "method": "aware_4",
        "pair": "demo & co",
        "steps": "4",
        "objects": "2",
        "psnr": "25.56",  # ((20 + 22) / 2 + 30.123) / 2
        "ssim": "0.5000",  # b has no number
        "lpips": "n/a",
        "residual_psnr": "15.50",  # the last step only
        "seconds": "4.50",
        "peak_mb": "525",
        "fg_psnr": "n/a",
        "views_psnr": "n/a",
        "residual_ssim": "n/a",
        "residual_lpips": "n/a",
        "network_calls": "n/a",
        "seeds": "2",
        "failed": "1",
    }


def test_rows_are_the_methods_of_the_table_in_the_configuration_s_order(
    config: Config, records: Path
) -> None:
    rows = build_table(config, "table2", read_records(records))
    assert [row["method"] for row in rows] == ["aware_4", "soft_4", "hard_4", "aligncvc_4"]
    assert [row["alignment"] for row in rows] == ["none", "soft", "hard", "both"]
    assert [row["objects"] for row in rows] == ["2", "0", "0", "0"]
    assert rows[1]["psnr"] == rows[1]["residual_psnr"] == "n/a"
    one = [row["method"] for row in build_table(config, "table1", read_records(records))]
    assert one == ["two_stage_50", "two_stage_4", "aware_4", "aligncvc_4"]


def test_records_of_methods_outside_the_table_change_nothing(config: Config, records: Path) -> None:
    known = read_records(records)
    other = [dataclasses.replace(r, method="soft_4", value=1.0) for r in known]
    assert build_table(config, "table1", known + other) == build_table(config, "table1", known)


def test_twins_hold_the_cells_of_the_csv(config: Config, records: Path, tmp_path: Path) -> None:
    write_table(config, "table2", [records], tmp_path / "t.csv")
    table = read_table(tmp_path / "t.csv")
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert len({len(line) for line in lines}) == 1  # the pipes stand below each other
    markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert markdown[0] == [LABELS[name] for name in table[0]]
    assert markdown[2:] == table[1:]
    tex = (tmp_path / "t.tex").read_text()
    body = tex.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert [line.removesuffix(" \\\\").split(" & ") for line in body] == [
        [latex(cell) for cell in row] for row in table[1:]
    ]
    assert "\\toprule" in tex and "aware\\_4 & demo \\& co &" in tex


def test_nothing_is_set_in_bold(config: Config, records: Path, tmp_path: Path) -> None:
    write_table(config, "table1", [records], tmp_path / "t.csv")
    assert "**" not in (tmp_path / "t.md").read_text()
    assert "textbf" not in (tmp_path / "t.tex").read_text()


def test_a_second_run_writes_the_same_bytes(config: Config, records: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_table(config, "table1", [records], tmp_path / name / "t.csv")
    for suffix in ("csv", "md", "tex"):
        first, second = (tmp_path / name / f"t.{suffix}" for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_records_of_two_protocols_are_refused(config: Config, records: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "soft_4.csv", RECORDS.replace(",P,", ",Q,"))
    with pytest.raises(UserError, match=r"protocol P.*protocol Q"):
        write_table(config, "table2", [records, other], tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()


def test_unknown_table_and_foreign_records_are_refused(config: Config, records: Path) -> None:
    known = read_records(records)
    with pytest.raises(UserError, match="'table9'"):
        build_table(config, "table9", known)
    foreign = [dataclasses.replace(r, method="elsewhere") for r in known]
    with pytest.raises(UserError, match="no record is of a method that table1 shows"):
        build_table(config, "table1", foreign)


def test_numbers_have_their_metric_s_decimals() -> None:
    assert number("psnr", 20.0) == "20.00"
    assert number("ssim", 0.12345) == "0.1235"
    assert number("peak_mb", 499.6) == "500"
    assert number("ssim", -1e-9) == "0.0000"
    assert number("psnr", float("nan")) == "n/a"


def test_latex_is_escaped_once() -> None:
    assert latex(r"a_b & 5% \x{}") == r"a\_b \& 5\% \textbackslash{}x\{\}"
    assert "PSNR $\\uparrow$" in as_latex(["psnr"], [{"psnr": "1.00"}])


def test_command_of_the_workflow(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"pair": "x"}))
    command = ["table", "--config", str(tmp_path / "c.yaml"), "--table", "table1", "--metrics", str(records)]
    monkeypatch.setattr(sys, "argv", ["paper", *command, "--out", str(tmp_path / "table1.csv")])
    cli(main)
    assert {path.name for path in tmp_path.glob("table1.*")} == {"table1.csv", "table1.md", "table1.tex"}


def test_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["table", "--table", "table1", "--metrics", str(tmp_path / "none.csv")]
    monkeypatch.setattr(sys, "argv", ["paper", *command, "--out", str(tmp_path / "t.csv")])
    with pytest.raises(SystemExit) as exit_:
        cli(main)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "none.csv" in error


def test_a_record_is_what_the_tests_think_it_is(records: Path) -> None:
    assert read_records(records)[0] == Record(
        "aware_4", "demo & co", "eval", "a", 0, -1, -1, "psnr", 20.0, "P", 2.0, 400.0
    )
