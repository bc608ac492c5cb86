"""What `make demo` ends with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from aligncvc.errors import UserError
from aligncvc.paper.summary import command


def test_a_run_in_a_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"pair": "a+b", "method": f"m_{k}", "residual_psnr": 20.06 + k, "lpips": 0.1806, "network_calls": 8.0}
        for k in range(7)
    ]
    rows[1]["lpips"] = float("nan")
    pd.DataFrame(rows).to_csv(tmp_path / "table1.csv", index=False)
    command(tmp_path, rows=5)
    out = capsys.readouterr().out
    assert "20.1" in out and "0.181" in out and "n/a" in out and "m_4" in out and "m_5" not in out
    assert "2 more rows" in out and "report.html" in out and "seconds" not in out
    assert len(out.splitlines()) <= 12


def test_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run snakemake"):
        command(tmp_path)


def test_names_stand_whole_in_a_narrow_window(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    numbers = {
        "residual_psnr": 27.5,
        "lpips": 0.179,
        "network_calls": 52.0,
        "seconds": 14.9,
        "cpu_seconds": 14.7,
    }
    row = {"pair": "wonder3d+geolrm", "method": "gen3diffusion_25", **numbers}
    pd.DataFrame([row]).to_csv(tmp_path / "table1.csv", index=False)
    command(tmp_path)
    out = capsys.readouterr().out
    assert "wonder3d+geolrm" in out and "gen3diffusion_25" in out and "14.7" in out
