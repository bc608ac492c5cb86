"""What a killed process leaves is under a name of its own, in nobody's way, and gone with the next run."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from aligncvc import ownership
from aligncvc.errors import OutputError, UserError, reason_of
from aligncvc.files import atomic_path, write_text
from aligncvc.ownership import claim_folder
from aligncvc.unfinished import PREFIX, scratch, sweep


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_CLAIMS", {})


def test_a_leftover_is_taken_over_and_emptied(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}a.txt").write_text("a killed process wrote so far")
    with atomic_path(tmp_path / "a.txt") as temporary:
        assert temporary.name == f"{PREFIX}a.txt" and temporary.read_bytes() == b""
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_two_writers_of_one_file_do_not_share(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as first:
        first.write_text("first")
        with atomic_path(tmp_path / "a.txt") as second:
            assert second != first and second.suffix == ".txt"
            second.write_text("second")
        assert first.read_text() == "first" and (tmp_path / "a.txt").read_text() == "second"
    assert (tmp_path / "a.txt").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_the_longest_name_that_a_file_may_have(tmp_path: Path) -> None:
    name = "é" * 125 + ".glb"
    write_text(tmp_path / name, "1")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_in_the_place_of_a_leftover_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / f"{PREFIX}a.txt").symlink_to("theirs")
    write_text(tmp_path / "a.txt", "1")
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_leftovers_are_no_strangers_and_are_swept(tmp_path: Path) -> None:
    """Also where a process was killed before it had marked the folder as its own."""
    (tmp_path / f"{PREFIX}a.txt").write_text("half")
    (tmp_path / f"{PREFIX}x7").mkdir()
    (tmp_path / f"{PREFIX}x7/000.png").write_text("half")
    claim_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_holds_is_not_swept(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder, atomic_path(tmp_path / "a.txt") as temporary:
        sweep(tmp_path)
        assert folder.is_dir() and temporary.is_file()
        temporary.write_text("1")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    (tmp_path / f"{PREFIX}dead").mkdir()
    held = os.open(tmp_path / f"{PREFIX}dead", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    sweep(tmp_path)
    assert (tmp_path / f"{PREFIX}dead").is_dir()
    os.close(held)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_no_items_fault(tmp_path: Path, number: int) -> None:
    """Whatever was made of it on the way: the command ends, and no item is left out for it."""
    with pytest.raises(OutputError, match=r"a.txt could not be written \(.+\); free space"):  # noqa: SIM117
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(number, os.strerror(number))
    try:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise ValueError("the writer's own kind") from error
    except ValueError as error:
        with pytest.raises(OutputError, match="nothing more can be written"):
            reason_of(error)
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_a_writer_stay_what_they_are(tmp_path: Path) -> None:
    for kind in (UserError, RuntimeError, KeyboardInterrupt):
        with pytest.raises(kind, match="mine"), atomic_path(tmp_path / "a.txt"):
            raise kind("mine")
    assert list(tmp_path.iterdir()) == []
