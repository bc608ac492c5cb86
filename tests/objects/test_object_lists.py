"""The committed lists, the bundled files and the split."""

from __future__ import annotations

from collections import Counter

import pytest

from aligncvc.config.root import load_config
from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.objects.convert import check_glb
from aligncvc.objects.curate import rejected
from aligncvc.objects.listing import (
    ManifestRow,
    ObjectRow,
    base_name,
    forced_splits,
    read_list,
    read_manifest,
    select,
    split_of,
    write_list,
    write_manifest,
)
from aligncvc.objects.sweethome3d import CatalogueEntry

BUNDLED = read_list(PROJECT_ROOT / "config/objects/bundled.tsv")
FURNITURE = read_list(PROJECT_ROOT / "config/objects/furniture.tsv")


def test_bundled_counts_and_size():
    assert Counter(row.split for row in BUNDLED) == {"train": 24, "eval": 12}
    files = sorted((PROJECT_ROOT / "assets/objects").glob("*.glb"))
    assert [f.name for f in files] == sorted(f"{row.id}.glb" for row in BUNDLED)
    assert sum(f.stat().st_size for f in files) < 12_000_000


@pytest.mark.parametrize("row", BUNDLED, ids=lambda row: row.id)
def test_bundled_file_is_what_the_list_says(row):
    path = PROJECT_ROOT / row.path
    assert sha256_file(path) == row.sha256
    assert row.licence == "CC0-1.0" and row.creator and row.source.startswith("BlendSwap-CC-0/")
    assert check_glb(path) > 100


def test_bundled_objects_are_those_of_the_furniture_list():
    furniture = {row.id: row for row in FURNITURE}
    for row in BUNDLED:
        twin = furniture[row.id]
        assert (twin.sha256, twin.source, twin.split) == (row.sha256, row.source, row.split)


@pytest.mark.parametrize(
    "rows", [BUNDLED, FURNITURE, BUNDLED + FURNITURE], ids=["bundled", "furniture", "both"]
)
def test_no_name_is_in_both_splits(rows):
    names = {split: {base_name(r.name) for r in rows if r.split == split} for split in ("train", "eval")}
    assert names["train"] and names["eval"]
    assert not names["train"] & names["eval"]


def test_furniture_list():
    assert len(FURNITURE) > 600
    assert 0.05 < sum(row.split == "eval" for row in FURNITURE) / len(FURNITURE) < 0.2
    assert {row.licence for row in FURNITURE} == {"CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US"}
    assert all(row.creator and len(row.sha256) == 64 for row in FURNITURE)
    assert len({row.sha256 for row in FURNITURE}) == len(FURNITURE)
    words = Counter(word for row in FURNITURE for word in row.name.lower().split())
    assert words["plug"] == words["switch"] == words["window"] == words["stairs"] == 0


def test_default_configuration_names_these_lists():
    sets = load_config().objects.sets
    assert {sets["train"].list, load_config().protocol.objects.list} == {"config/objects/bundled.tsv"}
    assert sets["furniture"].list == "config/objects/furniture.tsv"


def entry(name="Chair", category="Living room", size=(50.0, 90.0, 50.0), library="Scopia") -> CatalogueEntry:
    row = ObjectRow("x", name, "", f"{library}/m.obj", "", "l", "c", "")
    return CatalogueEntry(row, library, category, "m.obj", size, None)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (entry(), None),
        (entry(library="Reallusion"), "library"),
        (entry(category="Doors and windows"), "category"),
        (entry("Rounded type A plug"), "name"),
        (entry("Shower door"), "name"),
        (entry("Glass door cabinet"), None),
        (entry("Drugstore rack"), None),
        (entry(size=(50.0, 1.0, 50.0)), "flat"),
        (entry(size=(10.0, 250.0, 20.0)), "flat"),
        (entry(size=(20.0, 250.0, 20.0)), "thin"),
        (entry(size=(2.0, 2.0, 1.0)), "tiny"),
        (entry(size=(float("nan"),) * 3), "tiny"),
    ],
)
def test_filter(candidate, reason):
    assert rejected(candidate) == reason


def test_base_name_joins_variants():
    assert {base_name(n) for n in ("Chair", "chair 2", "Chairs", "CHAIR (red)")} == {"chair"}
    assert base_name("Glass") == "glass"


def test_split_is_by_name_and_can_be_forced():
    names = [f"thing {chr(97 + a)}{chr(97 + b)}" for a in range(26) for b in range(26)]
    share = sum(split_of(name, {}) == "eval" for name in names) / len(names)
    assert 0.06 < share < 0.14
    assert all(split_of(name, {}) == split_of(f"{name} 7", {}) for name in names)
    assert split_of("Chairs", {"chair": "eval"}) == "eval"


def row(name: str, split: str) -> ObjectRow:
    return ObjectRow(name, name, "", "s", "", "user", "me", split)


def test_name_on_both_sides_is_an_error():
    with pytest.raises(UserError, match="both"):
        forced_splits([row("chair", "train"), row("chairs", "eval")])


def test_lists_round_trip_and_select(tmp_path):
    rows = [row("a", "train"), row("b", "eval"), row("c", "train")]
    write_list(tmp_path / "l.tsv", rows, "made by\na test")
    assert read_list(tmp_path / "l.tsv") == rows
    assert [r.id for r in select(rows, "train", None)] == ["a", "c"]
    assert [r.id for r in select(rows, "all", 2)] == ["a", "b"]


def test_manifest_keeps_a_reason_on_one_line(tmp_path):
    bad = ManifestRow.of(row("a", "train"), reason='two\nlines\tand a "quote')
    write_manifest(tmp_path / "m.tsv", [bad])
    assert read_manifest(tmp_path / "m.tsv") == [bad]
    assert bad.reason == 'two lines and a "quote' and bad.path == "" and bad.sha256 == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id\tsource\n", "lacks the column"),
        ("id\tsource\tlicence\tcreator\na\ts\tl\tc\na\ts\tl\tc\n", "twice"),
        ("id\tsource\tlicence\tcreator\n../a\ts\tl\tc\n", "no plain name"),
    ],
)
def test_bad_lists_are_explained(tmp_path, text, reason):
    (tmp_path / "l.tsv").write_text(text)
    with pytest.raises(UserError, match=reason):
        read_list(tmp_path / "l.tsv")
    with pytest.raises(UserError, match=r"no table can be read.*No such file.*check `list`"):
        read_list(tmp_path / "absent.tsv")


TEXT = "id\tsource\tlicence\tcreator\npot\tplain.glb\tCC-BY\tJosé\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lists_as_editors_write_them(tmp_path, encoding, newline):
    (tmp_path / "list.tsv").write_bytes(TEXT.replace("\n", newline).encode(encoding))
    assert [(row.id, row.creator) for row in read_list(tmp_path / "list.tsv")] == [("pot", "José")]


def test_a_list_in_another_encoding_is_one_sentence(tmp_path):
    (tmp_path / "list.tsv").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(UserError, match=r"list\.tsv \(it is not UTF-8; save it as UTF-8\); check `list`"):
        read_list(tmp_path / "list.tsv")
