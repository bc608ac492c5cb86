"""The driver: crashes, hangs, resume, failure rate, sharding, exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from render_scenes import Rendered, box_glb, files_of, small_job, sphere_glb, write_manifest

from aligncvc.errors import UserError
from aligncvc.render import jobs, run, workers
from aligncvc.render.results import Status, read_status, views_from_npz, write_contact_sheet
from aligncvc.render.run import render_set
from aligncvc.render.workers import LARGEST, Worker, split

HEADER = "id\tpath\tsha256\tlicence\tcreator\tsource\tsplit\tstatus\treason\n"


def test_shards_cover_every_object_once() -> None:
    items: list[Any] = [(i, None) for i in range(600)]
    for count in (1, 2, 3, 100):
        shards = split(items, count)
        assert [x for shard in shards for x in shard] == items
        assert max(map(len, shards)) <= LARGEST and len(shards) == max(count, 3)
    assert [len(shard) for shard in split(items[:64], 1)] == [64], "one start, not one for every few"
    assert split([], 2) == []


def test_job_hash_follows_pixels_and_nothing_else(tmp_path: Path) -> None:
    (source,) = jobs.read_objects(write_manifest(tmp_path, {"box": b"x"}))
    base = jobs.job_hash(small_job(), source)
    assert jobs.job_hash(small_job(timeout_seconds=7.0, max_failure_rate=0.5), source) == base
    for change in ({"samples": 5}, {"size_px": 32}, {"ring_views": 16}, {"rig_views": 2}, {"denoise": True},
                   {"elevation_deg": 11.0}, {"fov_y_deg": 40.0}, {"distance": 3.1}, {"light": "uniform"},
                   {"normalisation": "unit-cube"}, {"crop": "keep"}):  # fmt: skip
        assert jobs.job_hash(small_job(**change), source) != base, change
    (other,) = jobs.read_objects(write_manifest(tmp_path, {"box": b"y"}))
    assert jobs.job_hash(small_job(), other) != base


@pytest.mark.parametrize(("text", "message"), [
    ("id\tpath\nbox\tbox.glb\n", "lacks the columns sha256, licence, creator, source, split, status, reason"),
    (HEADER, "lists no objects"),
    (HEADER + "../x\tb\t0\tl\tc\ts\teval\tok\t\n", "no plain name"),
    (HEADER + "a\tb\t0\tl\tc\ts\teval\tok\t\n" * 2, "occurs twice"),
])  # fmt: skip
def test_a_wrong_manifest_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        jobs.read_objects(path)
    with pytest.raises(UserError, match=r"No such file.*make it with python -m aligncvc\.objects"):
        jobs.read_objects(tmp_path / "absent.tsv")


def test_source_faults_and_failure_rate(tmp_path: Path) -> None:
    """Everything is written before the run fails, and it fails only above the limit. Blender never starts."""
    manifest = write_manifest(tmp_path / "objects", {"altered": b"x", "missing": b"y"},
                              failed={"given_up": "HTTP 404"}, wrong_hash=("altered",))  # fmt: skip
    (tmp_path / "objects" / "missing.glb").unlink()
    statuses = {s.id: s for s in render_set(small_job(max_failure_rate=1.0), manifest, tmp_path / "out")}
    assert {k: s.stage for k, s in statuses.items()} == {
        "altered": "source", "missing": "source", "given_up": "objects"}  # fmt: skip
    assert "sha256" in statuses["altered"].reason and "missing.glb is missing" in statuses["missing"].reason
    with pytest.raises(UserError, match=r"3 of 3 objects failed \(100%, at most 99% may"):
        render_set(small_job(max_failure_rate=0.99), manifest, tmp_path / "again")
    assert (tmp_path / "again" / "manifest.tsv").read_text().count("failed") == 3
    assert (tmp_path / "again" / "contact_sheet.png").exists()


def test_command_line_exit_status(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "objects", {}, failed={"given_up": "HTTP 404"})
    arguments = ["--objects", str(manifest), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "aligncvc.render", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 1 of 1 objects failed (100%, at most 10% may")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "manifest.tsv").exists()


def test_a_folder_of_the_users_that_is_named_like_an_object_stays(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "objects", {}, failed={"chair": "HTTP 404"})
    mine = tmp_path / "out/chair/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("the user's own")
    with pytest.raises(
        UserError, match=r"out holds files that this program did not make \(chair/notes.txt\)"
    ):
        render_set(small_job(max_failure_rate=1.0), manifest, tmp_path / "out")
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == [mine]
    render_set(small_job(max_failure_rate=1.0), manifest, tmp_path / "out", force=True)
    assert mine.read_text() == "the user's own" and read_status(tmp_path / "out", "chair") is not None


def test_storing_again_replaces_only_own_files(tmp_path: Path) -> None:
    """A second run over its own folder, also one of a version without marks, in which the user left notes."""
    manifest = write_manifest(tmp_path / "objects", {}, failed={"chair": "HTTP 404"})
    render_set(small_job(max_failure_rate=1.0), manifest, tmp_path / "out")
    (tmp_path / "out/.aligncvc").unlink()
    render_set(small_job(max_failure_rate=1.0), manifest, tmp_path / "out")
    mine, more = tmp_path / "out/chair/notes.txt", tmp_path / "out/chair/907.png"
    mine.write_text("the user's own")
    more.write_text("also the user's: there are eight views")
    render_set(small_job(max_failure_rate=1.0), manifest, tmp_path / "out")
    assert mine.exists() and more.exists()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".aligncvc", "chair", "contact_sheet.png", "manifest.tsv"]  # fmt: skip


def test_contact_sheet_shows_failures_grey(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(tmp_path / "good" / "000.png")
    rows = [Status(name, status, stage, reason, 1.0, 1, "h", "CC0", "m") for name, status, stage, reason in (
        ("good", "ok", "done", ""), ("bad", "failed", "import", "not a GLB"))]  # fmt: skip
    write_contact_sheet(tmp_path / "sheet.png", tmp_path, rows, tile_px=64)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (128, 76)
        assert sheet.getpixel((32, 32)) == (255, 0, 0)
        assert sheet.getpixel((96, 50)) == (190, 190, 190)
        assert any(p[0] - p[1] > 80 for _, p in sheet.crop((64, 0, 128, 64)).getcolors(4096))  # red text
    credited = [replace(row, licence="CC-BY-4.0", creator="Ada and her long friends") for row in rows]
    write_contact_sheet(tmp_path / "credits.png", tmp_path, credited, tile_px=64)
    with Image.open(tmp_path / "credits.png") as sheet:  # "by Ada and her long / friends (CC-BY-4.0)"
        assert sheet.size == (128, 76 + 2 * 14)
        for top in (76, 90):
            assert sheet.crop((0, top, 128, top + 14)).convert("L").getextrema()[0] < 100, "a line of words"


def test_stop_kills_the_whole_process_group(tmp_path: Path) -> None:
    """A child that ignores its parent's end dies with the group."""
    worker = object.__new__(Worker)
    worker.scratch = tmp_path / "scratch"
    worker.scratch.mkdir()
    code = ("import subprocess, time\n"
            "child = subprocess.Popen(['sleep', '1000'])\n"
            "print(child.pid, flush=True)\ntime.sleep(1000)")  # fmt: skip
    worker.process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert worker.process.stdout is not None
    child = int(worker.process.stdout.readline())
    assert os.getpgid(child) == worker.process.pid != os.getpgid(0)
    worker.stop()
    worker.stop()  # a second call is harmless
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child) and not worker.scratch.exists()


def alive(pid: int) -> bool:
    """Does the process run (a zombie that nobody reaped does not)?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.blender
def test_resume_renders_nothing_twice(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in rendered.out.glob("*/*")}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Blender was started for finished objects")

    monkeypatch.setattr(run, "Worker", refuse)
    statuses = render_set(rendered.job, rendered.manifest, rendered.out)
    assert [s.attempts for s in statuses] == [1, 1]
    assert {p: p.stat().st_mtime_ns for p in rendered.out.glob("*/*")} == before


@pytest.mark.blender
def test_crash_and_hang_cost_one_object_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blender is really crashed on the first object and really hangs on the second; the third is rendered."""
    job = small_job(samples=64, timeout_seconds=10.0)
    files = {"crashes": sphere_glb(), "hangs": sphere_glb(), "box": box_glb()}
    manifest = write_manifest(tmp_path / "objects", files)
    follow, started = Worker._follow, []

    def sabotage(self: Worker, event: dict[str, Any]) -> None:
        follow(self, event)
        if event["event"] == "start":
            started.append((event["index"], self.process.pid, self.scratch))
            if event["index"] < 2:
                os.kill(self.process.pid, (signal.SIGSEGV, signal.SIGSTOP)[event["index"]])

    monkeypatch.setattr(workers.Worker, "_follow", sabotage)
    statuses = render_set(job, manifest, tmp_path / "out", workers=1)
    assert [(s.id, s.status, s.stage) for s in statuses] == [
        ("crashes", "failed", "crash"), ("hangs", "failed", "timeout"), ("box", "ok", "done")]  # fmt: skip
    assert "code -11" in statuses[0].reason and "10 s" in statuses[1].reason
    assert [index for index, _, _ in started] == [0, 1, 2]
    assert len({pid for _, pid, _ in started}) == 3
    assert not any(alive(pid) or scratch.exists() for _, pid, scratch in started)
    # A later run tries the failed objects again, and only them.
    monkeypatch.setattr(workers.Worker, "_follow", follow)
    finished = files_of(tmp_path / "out" / "box")
    again = render_set(small_job(samples=64), manifest, tmp_path / "out", workers=1)
    assert [(s.status, s.attempts) for s in again] == [("ok", 2), ("ok", 2), ("ok", 1)]
    assert files_of(tmp_path / "out" / "box") == finished


@pytest.mark.blender
def test_too_slow_an_object_is_killed_where_it_renders(tmp_path: Path) -> None:
    """No sabotage: so many samples that Cycles cannot finish in time."""
    job = small_job(samples=1_000_000, timeout_seconds=1.0)
    manifest = write_manifest(tmp_path / "objects", {"box": box_glb()})
    with pytest.raises(UserError, match="1 of 1 objects failed"):
        render_set(job, manifest, tmp_path / "out", workers=1)
    status = read_status(tmp_path / "out", "box")
    assert status is not None and status.stage == "timeout" and 1.0 <= status.seconds < 30
    assert json.loads((tmp_path / "out" / "box" / "status.json").read_text())["status"] == "failed"


@pytest.mark.blender
def test_blender_that_cannot_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken" / "bpy").mkdir(parents=True)
    (tmp_path / "broken" / "bpy" / "__init__.py").write_text("raise ImportError('libX11 is missing')")
    monkeypatch.setattr(Worker, "_environment", lambda self: {
        **os.environ, "PYTHONPATH": os.pathsep.join(
            [str(tmp_path / "broken"), str(Path(run.__file__).resolve().parents[2])])})  # fmt: skip
    manifest = write_manifest(tmp_path / "objects", {"box": box_glb()})
    with pytest.raises(UserError, match="libX11 is missing"):
        render_set(small_job(), manifest, tmp_path / "out", workers=1)


@pytest.mark.blender
def test_a_result_that_does_not_fit_into_memory_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, read = write_manifest(tmp_path / "objects", {"a": box_glb(), "b": box_glb()}), []

    def first_too_large(path: Path, job: Any) -> Any:
        read.append(path)
        if len(read) == 1:
            raise MemoryError
        return views_from_npz(path, job)

    monkeypatch.setattr(run.results, "views_from_npz", first_too_large)
    statuses = render_set(small_job(), manifest, tmp_path / "out", workers=1, threads=1)
    assert [(s.status, s.stage) for s in statuses] == [("failed", "render"), ("ok", "done")]
    assert "more memory than this machine has" in statuses[0].reason
