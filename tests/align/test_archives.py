"""Renders in archives: the same objects as in folders, found by one read, in one order for any reader."""

from __future__ import annotations

import os
import re
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import write_renders

from aligncvc.align.batches import Batch, BatchesAhead, draw_batch
from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.scene import archives
from aligncvc.scene.archives import ArchivedObject, Shard, write_shard, write_shards
from aligncvc.scene.renderset import RenderSet
from aligncvc.scene.walk import Walk

NAMES = ("a", "b", "c", "d.v1", "e")


def row(name: str, ok: bool = True) -> ArchivedObject:
    said = ("ok", "done", "") if ok else ("failed", "objects", "HTTP 404")
    return ArchivedObject(name, *said, f"hash of {name}", "CC0-1.0", "nobody")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of five rendered clouds at 32 px, in folders."""
    return write_renders(tmp_path_factory.mktemp("folders"), NAMES)


@pytest.fixture
def sharded(folders: Path, tmp_path: Path) -> Path:
    """The same objects in three shards, one of which has none; manifest's path."""
    shards = []
    for number, names in enumerate((NAMES[:2], (), NAMES[2:])):
        folder = tmp_path / archives.SHARDS / f"{number:05d}"
        rows = [row("broken", ok=False), *map(row, names)]
        write_shard(folder, rows, folders.parent, key=f"key{number}")
        shards.append(Shard(folder.name, len(rows), len(names), sha256_file(folder / archives.INDEX)))
    write_shards(tmp_path / "manifest.tsv", shards)
    return tmp_path / "manifest.tsv"


def test_objects_are_those_of_the_folders(folders: Path, sharded: Path) -> None:
    ours, theirs = RenderSet(sharded, 32), RenderSet(folders, 32)
    assert len(ours) == 5 and ours.ids == theirs.ids == list(NAMES)
    for position, name in enumerate(NAMES):
        one, other = ours.load(name), theirs.load(name)
        assert one.id == ours.at(position).id == name and one.rig == other.rig
        assert torch.equal(one.views.rgba, other.views.rgba)
        assert torch.equal(one.views.cameras.c2w, other.views.cameras.c2w)


def test_bytes_follow_the_content_and_nothing_else(folders: Path, tmp_path: Path) -> None:
    """Not the dates of files, nor the order in which a folder lists them, nor who makes the archive."""
    for name in ("one", "two"):
        for path in folders.parent.rglob("*.png"):
            os.utime(path, (len(name), 77 * len(name) if name == "one" else 5))
        write_shard(tmp_path / name, [row("a"), row("b", ok=False)], folders.parent, "k")
    for file in (archives.TAR, archives.INDEX):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert archives.index_key(tmp_path / "one") == "k"
    (tmp_path / "one" / archives.TAR).unlink()
    assert archives.index_key(tmp_path / "one") is None


def test_an_object_is_one_sample_of_webdataset(sharded: Path) -> None:
    """By WebDataset's rule: what precedes the first dot of a file's name, and its folder, is a sample."""
    with tarfile.open(sharded.parent / "shards/00002/views.tar") as tar:
        names = tar.getnames()
    keys = [re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name) for name in names]
    assert list(dict.fromkeys(key[1] for key in keys if key)) == ["c/ring", "d.v1/ring", "e/ring"]
    fields = [key[2] for key in keys if key and key[1] == "d.v1/ring"]
    assert fields == [*(f"{i:03d}.png" for i in range(8)), "cameras.json"]


def test_webdataset_reads_a_shard(sharded: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    source = webdataset.WebDataset(str(sharded.parent / "shards/00002/views.tar"), shardshuffle=False)
    samples = list(source.decode("rgb"))
    assert [sample["__key__"] for sample in samples] == ["c/ring", "d.v1/ring", "e/ring"]
    assert samples[0]["000.png"].shape[:2] == (32, 32)


def test_damage_is_one_sentence(sharded: Path) -> None:
    tar = sharded.parent / "shards/00002/views.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[:-40_000])
    with pytest.raises(UserError, match="does not hold e where its index says"):
        RenderSet(sharded).load("e")
    tar.write_bytes(data[512:] + data[:512])
    with pytest.raises(UserError, match=r"does not hold d\.v1 where its index says"):
        RenderSet(sharded).load("d.v1")
    tar.unlink()
    with pytest.raises(UserError, match="does not hold c where its index says"):
        RenderSet(sharded).load("c")
    index = tar.with_name(archives.INDEX)
    index.write_text(index.read_text().replace("\tok\t", "\tfailed\t", 1))
    with pytest.raises(UserError, match="holds 2 objects and the manifest says 3"):
        RenderSet(sharded).at(3)
    index.write_text("id\n")
    with pytest.raises(UserError, match="lacks the columns"):
        RenderSet(sharded).at(3)


def test_a_set_without_any_object(sharded: Path) -> None:
    write_shards(sharded, [Shard("00000", 3, 0, "x")])
    with pytest.raises(UserError, match="lists no rendered object"):
        RenderSet(sharded)


def test_the_key_follows_the_shards(sharded: Path) -> None:
    before = RenderSet(sharded).key
    sharded.write_text(sharded.read_text().replace("00001\t1", "00001\t2"))
    assert RenderSet(sharded).key != before


def test_every_object_comes_once_an_epoch_in_an_order_of_the_seed() -> None:
    counts = [5, 0, 7, 3, 9, 1]
    walk = Walk(counts, seed=3, window=2)
    epochs = [[walk.at(n) for n in range(25 * e, 25 * (e + 1))] for e in range(3)]
    assert all(sorted(epoch) == list(range(25)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(25))
    backwards = [Walk(counts, 3, 2).at(n) for n in reversed(range(75))]
    assert backwards[::-1] == [n for epoch in epochs for n in epoch]
    assert [Walk(counts, 4, 2).at(n) for n in range(25)] != epochs[0]


def test_a_walk_has_few_shards_in_use() -> None:
    counts = [10] * 12
    walk, shard_of = Walk(counts, seed=0, window=3), np.repeat(np.arange(12), 10)
    seen = [shard_of[walk.at(n)] for n in range(120)]
    for start in range(0, 120, 30):
        assert len(set(seen[start : start + 30])) == 3
        assert len(set(seen[start : start + 10])) > 1, "shards of a window are mixed"


def same(one: Batch, other: Batch) -> bool:
    pairs = (one.rgba, other.rgba), (one.novel, other.novel), (one.cameras.c2w, other.cameras.c2w)
    return one.names == other.names and all(torch.equal(*pair) for pair in pairs)


def test_training_reads_the_same_whatever_the_number_of_readers(sharded: Path) -> None:
    """In order, and after a jump to another step, as when training goes on."""
    renders = RenderSet(sharded, 32)
    reference = [draw_batch(renders, 7, step, range(2), "cpu", 1) for step in range(6)]
    for readers in (0, 1, 3):
        theirs = RenderSet(sharded, 32)
        ahead = BatchesAhead(
            partial(draw_batch, theirs, 7, slots=range(2), device="cpu", novel=1), 6, readers
        )
        assert all(same(ahead.at(step), reference[step]) for step in (0, 1, 2, 4, 5, 1, 2))
    assert not same(reference[0], draw_batch(renders, 8, 0, range(2), "cpu", 1))


def test_processes_share_one_order(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with one slot each meet what one process with two slots meets, each object once."""
    renders, met = RenderSet(sharded, 32), list[int]()
    read = renders.at
    monkeypatch.setattr(renders, "at", lambda position: met.append(position) or read(position))
    for step in range(5):
        draw_batch(renders, 0, step, range(2), "cpu")
    together = met.copy()
    assert sorted(together[:5]) == sorted(together[5:]) == [0, 1, 2, 3, 4]
    met.clear()
    for rank in range(2):
        for step in range(5):
            draw_batch(renders, 0, step, range(rank, rank + 1), "cpu", total=2)
    assert met == together[0::2] + together[1::2]
