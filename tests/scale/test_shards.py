"""A long list by way of shards: faults, repeats, kills, and what readers see of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from shard_world import COUNT, SIZE, World
from synthetic_hub import BROKEN, fault_of, uid

from aligncvc.errors import UserError
from aligncvc.render.gather import gather_shards
from aligncvc.render.shard import WORK, make_shard
from aligncvc.scene.archives import FAILURES, INDEX, SHARDS, TAR, shard_name
from aligncvc.scene.renderset import RenderSet
from aligncvc.tsv import read_tsv

HERE = Path(__file__).parent


def folder_of(out: Path, number: int) -> Path:
    return out / SHARDS / shard_name(number)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What a run hands on, without the marks of ownership."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.endswith(".aligncvc")}


@pytest.fixture(scope="session")
def finished(hub: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole set, made once without a disturbance; its folder."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aligncvc.render.workers.SCENE", "scene_stand_in")
        patch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("no_proxy", "127.0.0.1")
        for number in range(3):
            make_shard(hub.job, number, folder_of(out, number), cache=out / "cache", threads=1)
        gather_shards(hub.job, out)
    return out


def test_the_failure_table_adds_up(finished: Path) -> None:
    rows = read_tsv(finished / "manifest.tsv", ("shard", "objects", "ok"), "")
    assert [int(row["objects"]) for row in rows] == [20, 20, 2]
    failed = read_tsv(finished / FAILURES, ("shard", "id", "stage", "reason"), "")
    faults = {uid(n): fault for n in range(COUNT) if (fault := fault_of(n))}
    assert {row["id"] for row in failed} == set(faults) and len(failed) == len(faults) == 4
    assert Counter(faults.values()) == dict.fromkeys(BROKEN, 1)
    for row in failed:
        assert BROKEN[faults[row["id"]]] in row["reason"] and row["stage"] == "objects"
    assert sum(int(row["ok"]) for row in rows) + len(failed) == COUNT
    by_shard = Counter(row["shard"] for row in failed)
    assert all(int(row["objects"]) - int(row["ok"]) == by_shard[row["shard"]] for row in rows)


def test_the_others_are_there_in_the_lists_order(finished: Path) -> None:
    renders = RenderSet(finished / "manifest.tsv", 32)
    assert renders.ids == [uid(n) for n in range(COUNT) if fault_of(n) is None]
    views = renders.at(0).views
    assert views.rgba.shape == (4, 4, 32, 32) and views.depth is not None and views.normals is not None
    assert 0.05 < float(views.alpha.mean()) < 0.9


def test_nothing_is_left_of_the_work(finished: Path) -> None:
    names = {path.name for path in (finished / SHARDS).rglob("*") if path.is_file()}
    assert names == {TAR, INDEX, ".aligncvc"}
    cached = [path.name for path in (finished / "cache").rglob("*") if path.is_file()]
    assert sorted(cached) == [".lock", "object-paths.json.gz"], "the index alone is kept for other shards"


def test_a_second_run_fetches_nothing(hub: World, finished: Path) -> None:
    before, log = bytes_of(finished), len(hub.site.log)
    for number in range(3):
        make_shard(hub.job, number, folder_of(finished, number), cache=finished / "cache")
    gather_shards(hub.job, finished)
    assert bytes_of(finished) == before and len(hub.site.log) == log


KILLED = """
import sys
from pathlib import Path
from aligncvc.config.jobs.shard import ShardJob
from aligncvc.render import shard, workers
workers.SCENE = "scene_stand_in"
settings, out, cache = map(Path, sys.argv[1:])
shard.make_shard(ShardJob.read(settings), 0, out, cache=cache, threads=1)
"""


def test_killing_the_job_changes_no_byte(hub: World, finished: Path, tmp_path: Path) -> None:
    """Once while it fetches, once while it renders; then it ends, without fetching again what it has."""
    hub.job.write(tmp_path / "job.json")
    out, work = tmp_path / "out", tmp_path / "out" / WORK
    command = [sys.executable, "-c", KILLED, tmp_path / "job.json", out, tmp_path / "cache"]
    first, fetched = f"{uid(0)}.glb", len(hub.site.log)
    for reached in (work / "objects" / f"{uid(3)}.glb", work / "renders" / uid(5) / "status.json"):
        process = subprocess.Popen(list(map(str, command)), start_new_session=True)
        until = time.monotonic() + 120
        while not reached.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not (out / INDEX).exists()
    make_shard(hub.job, 0, out, cache=tmp_path / "cache", threads=1)
    assert bytes_of(out) == bytes_of(folder_of(finished, 0))
    asked = Counter(path for path, _ in hub.site.log[fetched:])
    assert next(count for path, count in asked.items() if path.endswith(first)) == 1


def test_a_half_written_archive_is_made_again(hub: World, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_shard(hub.job, 2, out, cache=tmp_path / "cache", threads=1)
    (out / INDEX).unlink()
    (out / TAR).write_bytes((out / TAR).read_bytes()[:999])
    make_shard(hub.job, 2, out, cache=tmp_path / "cache", threads=1)
    assert bytes_of(out) == bytes_of(folder_of(finished, 2))


def test_a_shard_follows_its_own_lines_and_what_decides_pixels(hub: World, tmp_path: Path) -> None:
    from aligncvc.objects.shard_lists import shard_hashes

    def keys(listed: Path = hub.listed, **render: object) -> list[str]:
        job = World(hub.site, listed, hub.settings | {"render": {**hub.settings["render"], **render}}).job
        objects = job.objects.objects.model_copy(update={"list": str(listed)})
        return [job.key(rows) for rows in shard_hashes(objects, SIZE)]

    before = keys()
    assert len(set(before)) == 3 and keys(timeout_seconds=7.0, max_failure_rate=0.5) == before
    assert not set(keys(samples=5)) & set(before)
    longer = tmp_path / "longer.tsv"
    text = hub.listed.read_text()
    longer.write_text(f"# a comment\n{text}{text.splitlines()[-1].replace(uid(41), 'new')}\n")
    assert keys(longer)[:2] == before[:2] and keys(longer)[2] != before[2]


def test_a_shard_of_which_most_fails_is_not_written(hub: World, tmp_path: Path) -> None:
    """As when the server is down: the next run tries again, and keeps what it had."""
    behind, out = dict(hub.site.script), tmp_path / "out"
    try:
        others = [path for path in hub.site.files if path.endswith(".glb") and uid(0) not in path]
        hub.site.script |= {path: ["404"] * 9 for path in others}
        with pytest.raises(UserError, match=r"19 of 20 objects of shard 0 failed.*HTTP 404"):
            make_shard(hub.job, 0, out, cache=tmp_path / "cache", threads=1)
    finally:
        hub.site.script.clear()
        hub.site.script |= behind
    assert not (out / INDEX).exists() and (out / WORK / "objects" / f"{uid(0)}.glb").exists()
    rows = make_shard(hub.job, 0, out, cache=tmp_path / "cache", threads=1)
    assert sum(row.ok for row in rows) == 18


def test_missing_shards_and_many_failures_are_one_sentence(
    hub: World, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is missing or was made of another list"):
        gather_shards(hub.job, tmp_path)
    render = hub.job.render.render.model_copy(update={"max_failure_rate": 0.05})
    strict = hub.job.render.model_copy(update={"render": render})
    job = hub.job.model_copy(update={"render": strict})
    (tmp_path / SHARDS).symlink_to(finished / SHARDS)
    with pytest.raises(UserError, match=r"4 of 42 objects failed \(10%, at most 5%"):
        gather_shards(job, tmp_path)
    assert (tmp_path / FAILURES).is_file(), "the reasons are there all the same"


def test_files_of_another_origin_stop_a_shard(hub: World, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"did not make \(notes\.txt\)"):
        make_shard(hub.job, 0, tmp_path, cache=tmp_path / "cache")


LISTS = {
    '["a", "b"]\n': "JSON array",
    "name\tsource\nx\ty\n": "lacks the column id",
    "id\tsource\na\tx\na\ty\n": "'a' occurs twice",
    "id\tsource\n../a\tx\n": "no plain name",
    "# nothing\n\n": "lists nothing",
    "id\tsplit\na\teval\n": "has nothing for 'train'",
}


@pytest.mark.parametrize("text", LISTS)
def test_lists_that_cannot_be_cut(text: str, tmp_path: Path) -> None:
    from aligncvc.config.objects import ObjectSet
    from aligncvc.objects.shard_lists import shard_hashes

    (tmp_path / "l").write_text(text)
    with pytest.raises(UserError, match=re.escape(LISTS[text])):
        shard_hashes(ObjectSet(source="objaverse", list=str(tmp_path / "l"), split="train"), 2)


def test_lists_in_every_form_and_their_selection(tmp_path: Path) -> None:
    from aligncvc.config.objects import ObjectSet
    from aligncvc.objects.objaverse_source import uid_rows
    from aligncvc.objects.shard_lists import shard_hashes, shard_list

    plain, table = "a\nb.glb\nc\n", "# of mine\nid\tsource\tsplit\na\t\ttrain\nx\t\teval\nb\t\t\nc\t\ttrain"
    for text, split in ((plain, "all"), (table, "train")):
        (tmp_path / "l").write_text(text)
        objects = ObjectSet(source="objaverse", list=str(tmp_path / "l"), split=split)
        assert len(shard_hashes(objects, 2)) == 2
        names = []
        for number in range(2):
            (tmp_path / "part").write_text(shard_list(objects, 2, number)[0])
            names.append([row.source for row in uid_rows(tmp_path / "part")])
        assert names == [["a", "b"], ["c"]]
        assert len(shard_hashes(objects.model_copy(update={"limit": 2}), 2)) == 1
        with pytest.raises(UserError, match="no shard 2 of 2 objects"):
            shard_list(objects, 2, 2)
