"""`python -m aligncvc.checkpoints` end to end on a small ledger."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from aligncvc.checkpoints.__main__ import main
from aligncvc.errors import cli
from aligncvc.models.ledger.ledger import load_ledger
from aligncvc.models.outline import ENCODERS


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


def test_record_does_not_replace_a_pinned_hash_unasked(
    ledger: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    run(monkeypatch, "record", "tiny", tmp_path / "tiny.bin", "--ledger", ledger)
    before = ledger.read_text()
    other = tmp_path / "other.bin"
    other.write_bytes(b"of another model")
    capsys.readouterr()
    assert run(monkeypatch, "record", "tiny", other, "--ledger", ledger) == 2
    error, pins = (
        capsys.readouterr().err,
        [hashlib.sha256(b).hexdigest() for b in (b"weights", b"of another model")],
    )
    assert error.count("\n") == 1 and all(pin in error for pin in pins) and ledger.read_text() == before
    assert run(monkeypatch, "record", "tiny", other, "--ledger", ledger, "--force") == 0
    assert load_ledger(ledger).entry("tiny").sha256 == pins[1]


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


def test_describe_counts_the_network_of_a_model(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "describe", "lgm-big", "lgm-big-original") == 0
    said = capsys.readouterr().out
    assert said.count("unet: 415.04 M parameters in 374 keys") == 2
    assert "source: hub:ashawkey/LGM@" in said and "licence: MIT (used without asking)" in said
    assert "'rot_norm_dim': 1" in said


def test_describe_builds_wonder3d_without_memory(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "describe", "wonder3d-v1") == 0
    said = capsys.readouterr().out
    assert "unet: 910.79 M parameters in 802 keys" in said
    assert "vae: 83.65 M parameters in 248 keys" in said
    assert "image_encoder: 303.97 M parameters in 392 keys" in said
    assert said.count("AGPL-3.0 (must be accepted by name: whoever passes on the weights") == 3


def test_describe_says_what_a_licence_asks(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "describe", "clip-vit-b32", "aligncvc-lora") == 0
    said = capsys.readouterr().out
    assert "image tower: 87.85 M parameters" in said and "timesteps: [999, 749, 599, 299]" in said
    assert "licence: unknown (must be accepted by name: nobody has been granted the right" in said


def test_every_encoder_of_the_ledger_is_built_here() -> None:
    for entry in load_ledger().checkpoints.values():
        assert entry.network is None or entry.network["kind"] in ENCODERS
