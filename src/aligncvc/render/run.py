"""The driver: keeps Blender processes busy, judges what they render, and never dies of a bad object."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aligncvc.config.jobs.render import RenderJob
from aligncvc.errors import UserError, reason_of
from aligncvc.files import sha256_file
from aligncvc.ownership import claim_folder
from aligncvc.render import jobs, results
from aligncvc.render.jobs import SourceObject
from aligncvc.render.ready import is_ready, misfit, ready_views
from aligncvc.render.results import Status
from aligncvc.render.surface import surface_fault
from aligncvc.render.workers import START_SECONDS, Worker, split
from aligncvc.scene.archives import ArchivedObject
from aligncvc.scene.views import Views, split_variant
from aligncvc.unfinished import require_room

POLL_SECONDS = 0.05


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
        pending = [(i, s) for i, s in enumerate(self.sources) if not self._settled(s)]
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
        """Record what Blender need not render: done before, unusable, or rendered frames already."""
        before = results.read_status(self.out, source.id)
        if before is not None and before.job_hash != self.hashes[source.id]:
            before = None
        if before is not None and before.ok and source.failure is None:
            self.statuses[source.id] = before
            return True
        self.attempts[source.id] = 0 if before is None else before.attempts
        fault = _fault(source)
        if fault is not None:
            self._record(source, *fault, 0.0)
        elif is_ready(source.path) or misfit(source, self.job.render):
            self._read(source)
        else:
            return False
        return True

    def _read(self, source: SourceObject) -> None:
        """Take over an object that comes with its views."""
        began = time.monotonic()
        render = self.job.render
        try:
            if (reason := misfit(source, render)) is not None:
                raise UserError(reason)
            views, facts = ready_views(source.path, render)
        except Exception as error:
            self._record(source, "source", reason_of(error), time.monotonic() - began)
            return
        self._record(source, "done", "", time.monotonic() - began, views, facts)

    def _serve(self, worker: Worker) -> list[tuple[int, SourceObject]] | None:
        """Handle news of one process. None: it goes on; else it is over and these objects remain."""
        ended = worker.process.poll() is not None  # asked first, so that no last event is missed
        for event in worker.events():
            if event["event"] in ("done", "failed"):
                self._finish(worker, event)
        if not (ended or worker.overdue):
            return None
        stage, limit = "crash" if ended else "timeout", self.job.render.timeout_seconds
        reason = f"not finished after {limit:g} s and killed"
        if ended:
            require_room(worker.scratch)  # Blender's own files lie there
            reason = f"Blender ended with code {worker.process.returncode} ({worker.log_tail(2)})"
        seconds = time.monotonic() - worker.since
        tail, current = worker.log_tail(), worker.current
        worker.stop()
        # Without progress the next start would end the same way.
        if not worker.versions or (current is None and worker.shard and worker.finished == 0):
            raise UserError(
                f"Blender did not start within {START_SECONDS:g} s or ended at once; check the "
                f"installation of bpy and blenderproc (last output: {tail})"
            )
        if current is not None:
            self._record(self.sources[current], stage, reason, seconds)
        return [(i, s) for i, s in worker.shard if i != current]

    def _finish(self, worker: Worker, event: dict[str, Any]) -> None:
        source, seconds = self.sources[event["index"]], event["seconds"]
        if event["event"] == "failed":
            require_room(worker.scratch)
            self._record(source, event["stage"], event["reason"], seconds)
            return
        path = worker.scratch / "output" / f"{event['index']}.npz"
        try:
            views, normalisation = results.views_from_npz(path, self.job)
            path.unlink()
            in_cube = self.job.render.normalisation == "unit-cube"
            fault = surface_fault(source.path, views, normalisation, in_cube)
        except Exception as error:  # a file that Blender could not finish, or too large for the memory
            require_room(worker.scratch)
            self._record(source, "render", reason_of(error), seconds)
            return
        if fault is not None:
            self._record(source, "quality", fault, seconds)
            return
        renderer = jobs.renderer_facts(self.job.render) | worker.versions
        renderer["seed"] = jobs.object_seed(self.job, source)
        facts = {"normalisation": normalisation, "renderer": renderer}
        self._record(source, "done", "", seconds, views, facts)

    def _record(
        self,
        source: SourceObject,
        stage: str,
        reason: str,
        seconds: float,
        views: Views | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Store an object's views, or why there are none, and report it. facts: of cameras.json."""
        origin = {"licence": source.licence, "creator": source.creator}
        status = Status(
            id=source.id,
            status="ok" if stage == "done" else "failed",
            stage=stage,
            reason=reason,
            seconds=round(seconds, 3),
            attempts=self.attempts[source.id] + (stage not in ("objects", "source")),
            job_hash=self.hashes[source.id],
            **origin,
        )
        about = {
            "object": split_variant(source.id)[0],
            "variant": source.variant,
            "rigs": jobs.rigs(self.job.render),
            "source_sha256": source.sha256,
            **origin,
            **(facts or {}),
        }
        status = results.store(self.out, status, views, about, self.job.render.crop == "keep")
        self.statuses[status.id] = status
        note = "" if status.ok else f" FAILED at {status.stage}: {status.reason}"
        count = f"[{len(self.statuses)}/{len(self.sources)}]"
        print(f"{count} {status.id} {status.seconds:.1f} s{note}", flush=True)


def _fault(source: SourceObject) -> tuple[str, str] | None:
    """(stage, reason) why an object cannot be rendered before that is tried, or None."""
    name = source.path.name
    if source.failure is not None:
        return "objects", source.failure
    if not source.path.is_file():
        return "source", f"the file {name} is missing"
    try:
        differs = sha256_file(source.path) != source.sha256
    except OSError as error:
        return "source", f"{name} cannot be read ({error.strerror})"
    except Exception as error:  # whatever one object's file does, the others are rendered
        return "source", reason_of(error)
    return ("source", f"{name} differs from the sha256 in the manifest") if differs else None


def render_set(
    job: RenderJob,
    objects: Path,
    out: Path,
    workers: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> list[Status]:
    """Render a manifest's objects into `out/<id>/`, with `out/manifest.tsv` and `out/contact_sheet.png`.

    workers: Blender processes side by side; default: one per thread, so that imports and compositing, which
        use one thread, overlap with other objects' sampling.
    Raises UserError before work if the protocol asks for another scene or `out` holds files of another origin
    (unless force), and after writing everything when more than render.max_failure_rate of the objects failed.
    """
    statuses = render_objects(job, objects, out, workers, threads, force)
    results.write_contact_sheet(out / "contact_sheet.png", out, statuses)
    results.write_manifest(out / "manifest.tsv", statuses)
    failed = [s for s in statuses if not s.ok]
    require_few_failed(job, len(failed), len(statuses), failed[:1], out / "manifest.tsv")
    return statuses


def render_objects(
    job: RenderJob, objects: Path, out: Path, workers: int | None, threads: int | None, force: bool
) -> list[Status]:
    """What `render_set` does before it writes what the set has in common, however many objects fail."""
    jobs.require_scene(job)
    threads = threads or len(os.sched_getaffinity(0))
    workers = max(1, min(workers or threads, threads))
    sources = jobs.with_variants(jobs.read_objects(objects), job.looks)
    names = [results.STATUS, *results.object_files(job.render.ring_views)]
    planned = ["contact_sheet.png", "manifest.tsv", *(f"{s.id}/{name}" for s in sources for name in names)]
    claim_folder(out, planned, known=_left_before(sources, out), force=force)
    return Renderer(job, sources, out, workers, threads).run()


def require_few_failed(
    job: RenderJob, failed: int, total: int, examples: Sequence[Status | ArchivedObject], where: Path
) -> None:
    """Raises UserError if more than render.max_failure_rate of the objects failed; `where` says why."""
    rate, limit = failed / total, job.render.max_failure_rate
    if rate > limit:
        raise UserError(
            f"{failed} of {total} objects failed ({rate:.0%}, at most {limit:.0%} may: "
            f"render.max_failure_rate), for example {examples[0].id} at {examples[0].stage}: "
            f"{examples[0].reason}; see {where}"
        )


def _left_before(sources: list[SourceObject], out: Path) -> Iterator[str]:
    """What a version without marks left: the folders with a status, and what lies beside them."""
    found = [s.id for s in sources if results.read_status(out, s.id) is not None]
    yield from (f"{name}/{file}" for name in found for file in results.left_before(out / name))
    yield from ("contact_sheet.png", "manifest.tsv") if found else ()
