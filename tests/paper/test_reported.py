"""Published numbers: the shipped files hold what papers print, and wrong files are named in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.paper.reported import COLUMNS, Reported, read_reported, tables_by_paper, write_reported

SHIPPED = sorted((PROJECT_ROOT / "config/reported").glob("*.csv"))
GOOD = "Theirs,psnr,21.5,dB,GSO,gso30,Paper,Table 1,a note,https://x.org"


def shipped() -> list[Reported]:
    return read_reported(SHIPPED)


def value(paper: str, table: str, method: str, metric: str) -> float | None:
    key = (paper, table, method, metric)
    (entry,) = (e for e in shipped() if (e.paper, e.table, e.method, e.metric) == key)
    return entry.value


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return path


def test_shipped_numbers() -> None:
    """A few cells of each paper's table, by hand."""
    assert value("Ouroboros3D", "Table 1", "Ouroboros3D", "psnr") == 21.761
    assert value("Ouroboros3D", "Table 1", "Ouroboros3D", "views_psnr") == 21.770
    assert value("Ouroboros3D", "Table 2", "Ouroboros3D (joint)", "delta_psnr") == 0.511
    assert value("SV3D", "Table 1", "SV3D-p", "views_lpips") == 0.08
    assert value("SV3D", "Table 5", "ground-truth renders", "psnr") == 19.508
    assert value("Wonder3D", "Table 2", "Wonder3D", "views_psnr") == 26.07
    assert value("GeoLRM", "Table 1", "InstantMesh", "gpu_gb") == 23.12
    assert value("CRM", "geometry table", "CRM", "f_0.05") == 79.38
    assert value("MV-Adapter", "Table 2", "Era3D", "views_ssim") == 0.8601
    assert value("SPAR3D", "Table 1", "LGM", "seconds") == 41.0
    assert len(shipped()) > 200


def test_aligncvc_s_own_cells_are_empty_with_the_reason() -> None:
    own = [e for e in shipped() if e.paper == "AlignCVC"]
    assert own and all(e.value is None and "could not be read" in e.note for e in own)
    assert {e.table for e in own} == {"Table 1", "Table 2"}


def test_the_slip_is_noted() -> None:
    rows = [e for e in shipped() if e.method == "Ouroboros3D (all)"]
    assert {e.metric for e in rows if "slip" in e.note} == {"ssim", "lpips"}


def test_every_number_has_a_source_and_no_class_is_the_demo_s() -> None:
    assert all(e.url.startswith("https://arxiv.org/abs/") for e in shipped())
    assert not {e.protocol_class for e in shipped()} & {"demo", "smoke"}


def test_page_and_twin(tmp_path: Path) -> None:
    count = write_reported(SHIPPED, tmp_path / "reported.md")
    text = (tmp_path / "reported.md").read_text()
    assert count == sum(e.value is not None for e in shipped())
    assert "## Ouroboros3D\n" in text and "(class gso100-ouroboros3d)" in text and "slip in the paper" in text
    assert "not available" in text and "21.761" in text
    spread = next(line for line in text.splitlines() if line.startswith("| InstantMesh ") and "·" in line)
    assert all(number in spread for number in ("18.1", "19.948", "22.79", "23.19"))
    twin = json.loads((tmp_path / "reported.json").read_text())
    assert {"paper", "url", "title", "blocks", "notes"} == set(twin[0])
    before = (tmp_path / "reported.md").read_bytes()
    write_reported(SHIPPED, tmp_path / "reported.md")
    assert (tmp_path / "reported.md").read_bytes() == before


def test_every_number_is_on_the_page_once() -> None:
    cells = [
        cell.text
        for paper, _, _, table in tables_by_paper(shipped())
        if not paper.startswith("The same method")
        for row in table.blocks[0].rows
        for cell in row[1:]
    ]
    printed = sorted(text for text in cells if text not in ("\u2013", "not available"))
    assert printed == sorted(e.text for e in shipped() if e.text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (GOOD.replace(",psnr,", ",pnsr,"), "unknown metric 'pnsr'"),
        (GOOD.replace("21.5", "about 21"), "'about 21', which is no number"),
        (GOOD.replace("21.5", "nan"), "'nan', which is no number"),
        (GOOD.replace(",Paper,", ",,"), "has no paper"),
        (GOOD.replace(",Table 1,", ", ,"), "has no table"),
        (GOOD.replace("https://x.org", ""), "has no url"),
        (GOOD.replace("21.5", "").replace("a note", ""), "no value and no note"),
        (GOOD + ",more", "11 cells instead of 10"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "r.csv", GOOD.replace("Theirs", "Other"), line)
    with pytest.raises(UserError) as caught:
        read_reported([path])
    assert words in str(caught.value) and "r.csv, line 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    twice = write(tmp_path / "r.csv", GOOD, GOOD.replace("21.5", "22"))
    with pytest.raises(UserError, match=r"line 3 repeats .*line 2"):
        read_reported([twice])
    twice.write_text("method,value\n")
    with pytest.raises(UserError, match="columns of published numbers"):
        read_reported([twice])
    with pytest.raises(UserError, match=r"none.csv is not a readable CSV"):
        read_reported([tmp_path / "none.csv"])


def test_a_value_may_be_missing_with_a_reason(tmp_path: Path) -> None:
    (entry,) = read_reported([write(tmp_path / "r.csv", GOOD.replace("21.5", ""))])
    assert entry.value is None and entry.note == "a note"
