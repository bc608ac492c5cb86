"""Which objects of the packs are used, and that what ships agrees with the rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import trimesh

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT
from aligncvc.objects.listing import ObjectRow, check_ids, read_list, write_list
from aligncvc.objects.packs import LEFT_OUT, PACKS, RULES, packs, rejected
from aligncvc.tsv import read_tsv

LISTS = PROJECT_ROOT / "config/objects"
CUBE = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("path", "extents", "reason"), [
    ("/train-cc0/market/files/models/apple/model.glb", CUBE, None),
    ("/train-cc0/quaternius/public/glb/modular_men/Punk.glb", CUBE, "character"),
    ("/train-cc0/kaykit/City/gltf/base.glb", CUBE, "part of a kit"),
    ("/train-cc0/kaykit/City/gltf/building_A.glb", CUBE, "part of a kit"),
    ("/train-cc0/kaykit/City/gltf/building_A_withoutBase.glb", CUBE, None),
    ("/train-cc0/quaternius/public/glb/platformer_game_pack/Numbers_3.glb", CUBE, "symbol"),
    ("/train-cc0/quaternius/public/glb/crops_pack/Corn_Crop.glb", CUBE, "several things"),
    ("/train-cc0/quaternius/public/glb/crops_pack/Corn_2.glb", CUBE, None),
    ("/train-cc0/market/files/models/lucy/model.glb", CUBE, "terms of its maker"),
    ("/card.glb", (1.0, 0.05, 1.0), "flat"), ("/rod.glb", (0.1, 1.0, 0.12), "thin"),
    ("/plate.glb", (1.0, 0.07, 1.0), None),
])  # fmt: skip
def test_what_is_no_single_thing_is_left_out(path, extents, reason) -> None:
    assert rejected(path, extents) == reason


def test_choosing_again_moves_objects_both_ways(tmp_path: Path) -> None:
    shapes = {"ball": CUBE, "card": (1.0, 0.01, 1.0), "Numbers_1": CUBE}
    for name, extents in shapes.items():
        (tmp_path / f"{name}.glb").write_bytes(trimesh.creation.box(extents=extents).export(file_type="glb"))
    rows = [
        ObjectRow(n, n, f"{n}.glb", "s#m", "1", "CC0-1.0", "me", "train", source_sha256="2") for n in shapes
    ]
    kept, left = tmp_path / "kept.tsv", tmp_path / "left.tsv"
    write_list(kept, rows[1:])
    write_list(left, rows[:1])
    for _ in range(2):  # the second time from its own lists
        packs(tmp_path, kept=kept, left_out=left)
        assert read_list(kept) == rows[:1]
        assert {row["id"]: row["reason"] for row in read_tsv(left, ("reason",), "")} == {
            "card": "flat", "Numbers_1": "symbol",
        }  # fmt: skip
        assert sorted(read_list(left), key=lambda row: row.id) == sorted(rows[1:], key=lambda row: row.id)
    with pytest.raises(UserError, match="no folder"):
        packs(tmp_path / "absent", kept=kept, left_out=left)


def test_the_lists_of_the_packs_are_what_the_rules_say() -> None:
    kept, left = read_list(PACKS), read_tsv(LEFT_OUT, ("path", "reason"), "")
    assert len(kept) + len(left) == 1551
    check_ids([row.id for row in kept] + [row["id"] for row in left], "both lists")
    reasons = {row["path"]: row["reason"] for row in left}
    for path in [*(row.path for row in kept), *reasons]:
        said = rejected(f"/{path}", CUBE)  # flat and thin need the mesh
        assert reasons.get(path) in ({said} if said else {None, "flat", "thin"})
    assert set(reasons.values()) == {*RULES, "flat", "thin"}, "each rule has something to do"
    assert {row.licence for row in kept} == {"CC0-1.0"}
    assert {row.split for row in kept} == {"train", "eval"}


@pytest.mark.parametrize(("name", "count", "split"), [
    ("cc0-packs", None, None), ("ycb78", 78, "eval"), ("gso130", 130, "eval"), ("gso130-fuel", 130, "eval"),
])  # fmt: skip
def test_every_object_has_a_source_at_a_commit_a_licence_and_a_maker(name, count, split) -> None:
    rows = read_list(LISTS / f"{name}.tsv")
    assert count in (None, len(rows))
    for row in rows:
        assert row.licence in ("CC0-1.0", "CC-BY-4.0") and row.creator and split in (None, row.split)
        host = "https://fuel.gazebosim.org/" if name == "gso130-fuel" else "https://github.com/"
        assert row.source.startswith(host) and " " not in row.source
        hashes = {"gso130-fuel": "", "gso130": row.sha256}.get(name, row.sha256 + row.source_sha256)
        assert len(hashes) == {"gso130-fuel": 0, "gso130": 64}.get(name, 128)
    assert len({row.path for row in rows}) == len({row.source for row in rows} if name != "gso130" else rows)


def test_evaluation_lists_share_their_order_and_nothing_with_training() -> None:
    ids = {name: [row.id for row in read_list(LISTS / f"{name}.tsv")] for name in ("gso130", "gso130-fuel")}
    assert ids["gso130"] == ids["gso130-fuel"]
    trained = {row.sha256 for row in read_list(PACKS)}
    for name in ("ycb78", "gso130"):
        assert not trained & {row.sha256 for row in read_list(LISTS / f"{name}.tsv")}
