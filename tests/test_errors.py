"""Sentences for what one item of a set may raise."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import trimesh
import tyro

from aligncvc.errors import UserError, cli, reason_of
from aligncvc.scene.gaussians import matrix_to_quaternion


def test_a_users_error_speaks_for_itself() -> None:
    assert reason_of(UserError("a.ply is cut off; copy it again")) == "a.ply is cut off; copy it again"


def test_anything_else_says_kind_place_and_remedy_in_one_line() -> None:
    try:
        matrix_to_quaternion(trimesh)  # type: ignore[arg-type]
    except Exception as error:
        said = reason_of(error)
    assert said.startswith("it could not be handled (TypeError: ")
    assert ", in gaussians.py line " in said and said.endswith("); check its files")
    assert "\n" not in reason_of(ValueError("two\nlines"))
    assert "nothing more is known" in reason_of(AssertionError())
    assert "more memory than this machine has" in reason_of(MemoryError())


@pytest.mark.parametrize("module", ["aligncvc.sample.__main__", "aligncvc.sample"])
def test_usage_is_what_one_types_and_no_path(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name=module)))
    monkeypatch.setattr(sys, "argv", ["/some/where/__main__.py", "--unknown"])

    def command(size_px: int = 1) -> None: ...

    with pytest.raises(SystemExit):
        cli(lambda: tyro.cli(command))
    said = capsys.readouterr()
    assert "python -m aligncvc.sample --help" in " ".join((said.out + said.err).split())
    assert "/some" not in said.out + said.err


def test_names_that_are_no_utf8_are_printed_with_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True))
    cli(lambda: print("J\udce9.glb"))
    assert out.getvalue() == b"J\\udce9.glb\n"


@pytest.mark.parametrize("below", ["", "spark/files"])
def test_a_link_to_nothing_or_a_file_where_a_folder_is_needed_is_named(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link, file = tmp_path / "cache", tmp_path / "file"
    link.symlink_to("gone")
    file.write_text("mine")
    for place, sentence in (
        (link, f"error: {link} is a link to gone, which is not there; make that, or remove the link\n"),
        (file, f"error: {file} is a file where a folder is needed; move it away, or give another place\n"),
    ):
        with pytest.raises(SystemExit):
            cli(lambda place=place: (place / below).mkdir(parents=True, exist_ok=True))  # type: ignore[misc]
        assert capsys.readouterr().err == sentence
    assert link.is_symlink() and file.read_text() == "mine"
