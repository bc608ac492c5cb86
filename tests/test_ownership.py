"""Only what this program wrote is replaced or removed; an output that cannot be written stops before work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aligncvc import ownership
from aligncvc.errors import UserError
from aligncvc.files import write_json, write_provenance, write_text
from aligncvc.ownership import MARK, claim_files, claim_folder, remove, remove_rest
from aligncvc.unfinished import scratch


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_CLAIMS", {})


def mine(path: Path, text: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_with_files_of_another_origin_is_not_claimed(tmp_path: Path) -> None:
    file = mine(tmp_path / "deep/er/notes.txt")
    with pytest.raises(UserError, match=r"did not make \(deep/er/notes.txt\); give --out a new or empty"):
        claim_folder(tmp_path)
    assert not (tmp_path / MARK).exists() and file.read_text() == "mine"


@pytest.mark.parametrize("harmless", ["", "run.log", ".snakemake_timestamp", "empty/"])
def test_new_and_empty_folders_and_logs_are_fine(tmp_path: Path, harmless: str) -> None:
    if harmless.endswith("/"):
        (tmp_path / "out" / harmless).mkdir(parents=True)
    elif harmless:
        mine(tmp_path / "out" / harmless)
    claim_folder(tmp_path / "out")
    write_text(tmp_path / "out/a/b.txt", "1")
    ownership._CLAIMS.clear()
    claim_folder(tmp_path / "out", ["a/b.txt"])  # a second run, by the mark alone
    write_text(tmp_path / "out/a/b.txt", "2")


def test_in_an_own_folder_the_users_files_stay(tmp_path: Path) -> None:
    claim_folder(tmp_path)
    write_text(tmp_path / "ours.glb", "1")
    other = mine(tmp_path / "theirs.glb")
    remove(tmp_path / "ours.glb")
    remove(other)
    assert not (tmp_path / "ours.glb").exists() and other.exists()
    with pytest.raises(UserError, match=r"theirs.glb was not written by this program"):
        write_text(other, "ours")  # the last line of defence: a name that nobody planned
    with pytest.raises(UserError, match=r"theirs.glb was not written by this program"):
        claim_folder(tmp_path, ["theirs.glb"])
    assert other.read_text() == "mine" and not list(tmp_path.glob(".theirs*"))
    claim_folder(tmp_path, ["theirs.glb"], force=True)
    write_text(other, "ours")
    assert other.read_text() == "ours"


def test_a_mark_of_single_files_does_not_give_the_folder_away(tmp_path: Path) -> None:
    """`sample photo.jpg --out pictures/model.ply`, then `objects --out pictures`."""
    claim_files([tmp_path / "model.ply"])
    write_text(tmp_path / "model.ply", "1")
    claim_folder(tmp_path)  # only what the program wrote lies there
    (tmp_path / MARK).write_text("".join((tmp_path / MARK).open().readlines()[:2]))
    mine(tmp_path / "photo.jpg")
    with pytest.raises(UserError, match=r"did not make \(photo.jpg\)"):
        claim_folder(tmp_path)


def test_single_files_must_be_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for text in ("1", "2"):
        claim_files([path])
        write_text(path, text)
    path.write_text("2, corrected by hand")
    with pytest.raises(UserError, match=r"table.csv was not written by this program, or was changed since"):
        claim_files([path])
    claim_files([path], force=True)
    write_text(path, "3")
    path.unlink()  # as Snakemake does before a rerun
    claim_files([path])


def test_files_kept_open_are_the_programs_by_name(tmp_path: Path) -> None:
    claim_files([tmp_path / "w.bin"], kept=[tmp_path / "w.jsonl"])
    mine(tmp_path / "w.jsonl", "a line")
    claim_files([tmp_path / "w.bin"], kept=[tmp_path / "w.jsonl"])
    remove(tmp_path / "w.jsonl")
    assert not (tmp_path / "w.jsonl").exists()
    mine(tmp_path / "v.jsonl")
    with pytest.raises(UserError, match=r"v.jsonl was not written"):
        claim_files([tmp_path / "v.bin"], kept=[tmp_path / "v.jsonl"])


def test_an_input_is_not_replaced_even_by_force(tmp_path: Path) -> None:
    source = mine(tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to(source)
    for name in ("a.csv", "b.csv", "x/../a.csv"):
        with pytest.raises(UserError, match=r"would be written over the input .*a.csv; give another --out"):
            claim_files([tmp_path / name], inputs=[source], force=True)


def test_a_link_counts_as_the_users_and_is_not_followed(tmp_path: Path) -> None:
    precious = mine(tmp_path / "precious.ply")
    (tmp_path / "model.ply").symlink_to(precious)
    with pytest.raises(UserError, match=r"model.ply was not written by this program"):
        claim_files([tmp_path / "model.ply"])
    claim_files([tmp_path / "model.ply"], force=True)
    write_text(tmp_path / "model.ply", "1")
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("claim", [claim_folder, lambda out: claim_files([out / "a.csv"])])
def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, claim) -> None:
    mine(tmp_path / "file")
    with pytest.raises(UserError, match=r"file is a file where a folder is needed; move it or give another"):
        claim(tmp_path / "file/out")
    with pytest.raises(UserError, match=r"nothing can be written into /proc \(.+\); give --out a place"):
        claim(Path("/proc/nowhere/out"))
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UserError, match=r"a.csv is a folder where a file is needed"):
        claim_files([tmp_path / "a.csv"], force=True)
    assert not (tmp_path / MARK).exists()


def test_a_claim_alone_leaves_nothing_behind(tmp_path: Path) -> None:
    claim_files([tmp_path / "new/model.ply"])
    claim_folder(tmp_path / "folder", ["model.ply"])
    assert list(tmp_path.iterdir()) == []


def test_a_torn_mark_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    claim_folder(tmp_path)
    write_text(tmp_path / "a.txt", "1")
    with (tmp_path / MARK).open("a") as handle:
        handle.write('["b.txt", nu')
    claim_folder(tmp_path, ["a.txt"])
    write_text(tmp_path / "c.txt", "1")
    claim_folder(tmp_path, ["a.txt", "c.txt"])
    first = json.loads((tmp_path / MARK).read_text().splitlines()[0])
    assert first["made_by"] == "aligncvc"


def test_sidecars_of_versions_without_marks_are_replaced(tmp_path: Path) -> None:
    write_provenance(tmp_path / "a.csv", inputs={}, config={})
    claim_files([tmp_path / "a.csv.provenance.json"])
    write_json(tmp_path / "b.provenance.json", {"artefact": "the user's"})
    with pytest.raises(UserError, match=r"b.provenance.json was not written"):
        claim_files([tmp_path / "b.provenance.json"])


def test_what_an_earlier_run_left_goes_and_the_users_files_stay(tmp_path: Path) -> None:
    claim_folder(tmp_path)
    for name in ("teaser.png", "deep/curve.png", "gone.png"):
        write_text(tmp_path / name, "1")
    (tmp_path / "gone.png").unlink()
    other = mine(tmp_path / "teaser_of_my_talk.png")
    remove_rest(tmp_path)
    assert (tmp_path / "teaser.png").exists(), "this run wrote it"
    ownership._CLAIMS.clear()
    remove_rest(tmp_path)
    assert (tmp_path / "teaser.png").exists(), "nothing is claimed"
    claim_folder(tmp_path)
    write_text(tmp_path / "deep/curve.png", "2")
    remove_rest(tmp_path)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert left == ["deep/curve.png", other.name]


def test_scratch_is_gone_and_unlisted(tmp_path: Path) -> None:
    claim_folder(tmp_path)
    with scratch(tmp_path / "out") as folder:
        write_text(folder / "a.txt", "1")
        ownership.place(folder / "a.txt", tmp_path / "out/a.txt")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [MARK, "a.txt", "out"]
    assert "a.txt" in (tmp_path / MARK).read_text() and f"{MARK}-" not in (tmp_path / MARK).read_text()
