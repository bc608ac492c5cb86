"""`python -m aligncvc.checkpoints` end to end on a small ledger."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from aligncvc.checkpoints.__main__ import main
from aligncvc.checkpoints.ledger import load_ledger
from aligncvc.errors import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["checkpoints", *map(str, arguments)])
    try:
        cli(main)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.yaml"
    path.write_text(
        "version: 1\ncheckpoints:\n  tiny:\n    what: a file\n"
        f"    source: file:{tmp_path / 'tiny.bin'}\n    sha256: null\n    licence: AGPL-3.0\n"
    )
    (tmp_path / "tiny.bin").write_bytes(b"weights")
    return path


def test_record_then_verify_then_tamper(ledger: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "verify", "tiny", "--ledger", ledger) == 2
    assert "not recorded yet" in capsys.readouterr().err
    assert run(monkeypatch, "record", "tiny", tmp_path / "tiny.bin", "--ledger", ledger) == 0
    assert load_ledger(ledger).entry("tiny").sha256 == hashlib.sha256(b"weights").hexdigest()
    assert run(monkeypatch, "verify", "tiny", "--ledger", ledger) == 0
    (tmp_path / "tiny.bin").write_bytes(b"WEIGHTS")
    capsys.readouterr()
    assert run(monkeypatch, "verify", "--ledger", ledger) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "expected sha256" in error


def test_fetch_wants_the_licence_accepted(ledger: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    run(monkeypatch, "record", "tiny", tmp_path / "tiny.bin", "--ledger", ledger)
    assert run(monkeypatch, "fetch", "tiny", "--ledger", ledger) == 2
    capsys.readouterr()
    assert run(monkeypatch, "fetch", "tiny", "--ledger", ledger, "--accept-licence", "AGPL-3.0") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "tiny.bin")


def test_list_and_describe_say_what_is_known(ledger: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "list", "--ledger", ledger) == 0
    assert "not recorded" in capsys.readouterr().out
    assert run(monkeypatch, "describe", "tiny", "--ledger", ledger) == 0
    assert "sha256: not recorded" in capsys.readouterr().out
    assert run(monkeypatch, "describe", "tinny", "--ledger", ledger) == 2
    assert "did you mean tiny" in capsys.readouterr().err
