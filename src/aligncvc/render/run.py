"""The driver: keeps Blender processes busy, judges what they render, and never dies of a bad object."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from aligncvc.config.jobs.render import RenderJob
from aligncvc.errors import UserError, reason_of
from aligncvc.files import sha256_file
from aligncvc.objects.gobjaverse import SUFFIX, read_index, read_views
from aligncvc.ownership import claim_folder
from aligncvc.render import jobs, quality, results
from aligncvc.render.jobs import SourceObject
from aligncvc.render.results import Status
from aligncvc.render.workers import START_SECONDS, Worker, split
from aligncvc.scene.views import split_variant

POLL_SECONDS = 0.05


def available_threads() -> int:
    """CPU threads this process may use."""
    return len(os.sched_getaffinity(0))


class Renderer:
    """One run of the stage over a manifest."""

    def __init__(
        self, job: RenderJob, sources: list[SourceObject], out: Path, workers: int, threads: int
    ) -> None:
        self.job, self.sources, self.out = job, sources, out
        self.workers, self.threads = workers, threads
        self.statuses: dict[str, Status] = {}
        self.hashes = {s.id: jobs.job_hash(job, s) for s in sources}
        self.attempts: dict[str, int] = {}

    def run(self) -> list[Status]:
        """Render what is not rendered yet; returns one status per object, in the manifest's order."""
        pending = [(i, s) for i, s in enumerate(self.sources) if not self._settled(s) and not self._read(s)]
        queue = deque(split(pending, self.workers))
        active: list[Worker] = []
        try:
            while queue or active:
                while queue and len(active) < self.workers:
                    active.append(Worker(self.job, queue.popleft(), max(1, self.threads // self.workers)))
                for worker in list(active):
                    rest = self._serve(worker)
                    if rest is not None:
                        active.remove(worker)
                        if rest:
                            queue.appendleft(rest)
                time.sleep(POLL_SECONDS)
        finally:
            for worker in active:
                worker.stop()
        return [self.statuses[s.id] for s in self.sources]

    def _settled(self, source: SourceObject) -> bool:
        """Record objects that need no rendering: done before, given up earlier, or not what was fetched."""
        before = results.read_status(self.out, source.id)
        known = before is not None and before.job_hash == self.hashes[source.id]
        if before is not None and known and before.ok and source.failure is None:
            self.statuses[source.id] = before
            return True
        self.attempts[source.id] = before.attempts if before is not None and known else 0
        if source.failure is not None:
            self._fail(source, "objects", source.failure, 0.0)
        elif not source.path.is_file():
            self._fail(source, "source", f"the file {source.path.name} is missing", 0.0)
        else:
            try:
                differs = sha256_file(source.path) != source.sha256
            except OSError as error:
                self._fail(source, "source", f"{source.path.name} cannot be read ({error.strerror})", 0.0)
                return True
            if differs:
                reason = f"{source.path.name} differs from the sha256 in the manifest"
                self._fail(source, "source", reason, 0.0)
        return source.id in self.statuses

    def _read(self, source: SourceObject) -> bool:
        """Take over an object that comes as rendered frames; False for a mesh, which Blender renders."""
        if not source.path.name.endswith(SUFFIX):
            return False
        began = time.monotonic()
        render = self.job.render
        try:
            if source.variant:
                raise UserError("rendered frames have one look only; set `variants` of this object set to 1")
            folder = read_index(source.path)
            views = read_views(folder, render.ring_views, render.size_px)
        except Exception as error:
            self._fail(source, "source", reason_of(error), time.monotonic() - began)
            return True
        facts = self._facts(source) | {"frames": folder.name, "renderer": {"engine": "GObjaverse's frames"}}
        status = self._status(source, "ok", "done", "", time.monotonic() - began)
        self._record(results.store(self.out, status, views, facts, render.crop == "keep"))
        return True

    def _facts(self, source: SourceObject) -> dict[str, Any]:
        """What cameras.json says of an object, wherever its pixels come from."""
        return {
            "object": split_variant(source.id)[0],
            "variant": source.variant,
            "rigs": jobs.rigs(self.job.render),
            "source_sha256": source.sha256,
            "licence": source.licence,
            "creator": source.creator,
        }

    def _serve(self, worker: Worker) -> list[tuple[int, SourceObject]] | None:
        """Handle news of one process. None: it goes on; else it is over and these objects remain."""
        ended = worker.process.poll() is not None  # asked first, so that no last event is missed
        for event in worker.events():
            if event["event"] in ("done", "failed"):
                self._finish(worker, event)
        if ended:
            return self._buried(
                worker, "crash", f"Blender ended with code {worker.process.returncode} ({worker.log_tail(2)})"
            )
        if worker.overdue:
            limit = self.job.render.timeout_seconds
            return self._buried(worker, "timeout", f"not finished after {limit:g} s and killed")
        return None

    def _buried(self, worker: Worker, stage: str, reason: str) -> list[tuple[int, SourceObject]]:
        """Stop a process that ended or hangs, quarantine the object it was at; returns what remains."""
        seconds = time.monotonic() - worker.since
        tail, current, started = worker.log_tail(), worker.current, bool(worker.versions)
        worker.stop()
        # Without progress the next start would end the same way.
        if not started or (current is None and worker.shard and worker.finished == 0):
            raise UserError(
                f"Blender did not start within {START_SECONDS:g} s or ended at once; check the "
                f"installation of bpy and blenderproc (last output: {tail})"
            )
        if current is not None:
            self._fail(self.sources[current], stage, reason, seconds)
        return [(i, s) for i, s in worker.shard if i != current]

    def _finish(self, worker: Worker, event: dict[str, Any]) -> None:
        source = self.sources[event["index"]]
        if event["event"] == "failed":
            self._fail(source, event["stage"], event["reason"], event["seconds"])
            return
        path = worker.result(event["index"])
        try:
            views, normalisation = results.views_from_npz(path, self.job)
            path.unlink()
        except Exception as error:  # a file that Blender could not finish, or too large for the memory
            self._fail(source, "render", reason_of(error), event["seconds"])
            return
        facts = {
            **self._facts(source),
            "normalisation": normalisation,
            "renderer": {
                **jobs.renderer_facts(self.job.render),
                **worker.versions,
                "seed": jobs.object_seed(self.job, source),
            },
        }
        status = self._status(source, "ok", "done", "", event["seconds"])
        cropped = self.job.render.crop == "keep"
        self._record(results.store(self.out, status, views, facts, cropped))

    def _fail(self, source: SourceObject, stage: str, reason: str, seconds: float) -> None:
        self._record(results.store(self.out, self._status(source, "failed", stage, reason, seconds)))

    def _status(self, source: SourceObject, status: str, stage: str, reason: str, seconds: float) -> Status:
        attempts = self.attempts[source.id] + (stage not in ("objects", "source"))
        return Status(
            source.id,
            status,
            stage,
            reason,
            round(seconds, 3),
            attempts,
            self.hashes[source.id],
            source.licence,
            source.creator,
        )

    def _record(self, status: Status) -> None:
        self.statuses[status.id] = status
        note = "" if status.ok else f" FAILED at {status.stage}: {status.reason}"
        print(
            f"[{len(self.statuses)}/{len(self.sources)}] {status.id} {status.seconds:.1f} s{note}", flush=True
        )


def render_set(
    job: RenderJob,
    objects: Path,
    out: Path,
    workers: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> list[Status]:
    """Render a manifest's objects into `out/<id>/`, with `out/manifest.tsv` and `out/contact_sheet.png`.

    objects: the objects stage's manifest.tsv. workers: Blender processes side by side (default: one per
    thread, so that imports and compositing, which use one thread, overlap with other objects' sampling).
    threads: CPU threads in all (default: all of this machine's that may be used). The first of the job's
    looks is an object's own, the others have random colours, proportions and headings.
    Raises UserError before work if the protocol asks for another scene or `out` holds files of another origin
    (`aligncvc.ownership`), unless force, and after writing everything when more than render.max_failure_rate
    of the objects failed.
    """
    jobs.require_scene(job)
    threads = threads or available_threads()
    workers = max(1, min(workers or threads, threads))
    sources = jobs.with_variants(jobs.read_objects(objects), job.looks)
    names = [results.STATUS, *quality.object_files(job.render.ring_views)]
    planned = ["contact_sheet.png", "manifest.tsv", *(f"{s.id}/{name}" for s in sources for name in names)]
    claim_folder(out, planned, known=_left_before(sources, out), force=force)
    statuses = Renderer(job, sources, out, workers, threads).run()
    results.write_contact_sheet(out / "contact_sheet.png", out, statuses)
    results.write_manifest(out / "manifest.tsv", statuses)
    failed = [s for s in statuses if not s.ok]
    rate, limit = len(failed) / len(statuses), job.render.max_failure_rate
    if rate > limit:
        raise UserError(
            f"{len(failed)} of {len(statuses)} objects failed ({rate:.0%}, at most {limit:.0%} may: "
            f"render.max_failure_rate), for example {failed[0].id} at {failed[0].stage}: "
            f"{failed[0].reason}; see {out / 'manifest.tsv'}"
        )
    return statuses


def _left_before(sources: list[SourceObject], out: Path) -> Iterator[str]:
    """What a version without marks left: the folders with a status, and what lies beside them."""
    found = [s.id for s in sources if results.read_status(out, s.id) is not None]
    yield from (f"{name}/{file}" for name in found for file in results.left_before(out / name))
    yield from ("contact_sheet.png", "manifest.tsv") if found else ()


def stop_on_terminate() -> None:
    """Turn SIGTERM (a workflow engine stopping the job) into SystemExit, so that Blender is stopped too."""

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)
