"""Fetch one named object set: every object ends as a checked GLB or as a failed line with its reason."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError, reason_of
from aligncvc.files import PROVENANCE, sha256_file, write_provenance
from aligncvc.home import cache_folder, project_file
from aligncvc.objects.convert import check_glb
from aligncvc.objects.download import Policy
from aligncvc.objects.folder import folder_jobs
from aligncvc.objects.frames import gobjaverse_jobs
from aligncvc.objects.gobjaverse import SUFFIX as FRAMES_SUFFIX
from aligncvc.objects.listing import ManifestRow, check_ids, read_manifest, write_manifest
from aligncvc.objects.objaverse_source import objaverse_jobs
from aligncvc.objects.pictures import SUFFIX as PICTURES_SUFFIX
from aligncvc.objects.pictures import picture_jobs
from aligncvc.objects.published import published_jobs
from aligncvc.objects.sources import Context, Job, bundled_jobs
from aligncvc.objects.sweethome3d import sweethome3d_jobs
from aligncvc.ownership import claim_folder, remove

CACHE = cache_folder("objects")
MANIFEST = "manifest.tsv"
SOURCES: dict[str, Callable[[ObjectSet, Context], list[Job]]] = {
    "bundled": bundled_jobs,
    "sweethome3d": sweethome3d_jobs,
    "objaverse": objaverse_jobs,
    "folder": folder_jobs,
    "gobjaverse": gobjaverse_jobs,
    "published": published_jobs,
    "pictures": picture_jobs,
}


def _is(path: Path, sha256: str) -> bool:
    """Whether the listed bytes are there already (only a list's hash can tell)."""
    return bool(sha256) and path.is_file() and sha256_file(path) == sha256


def fetch_one(job: Job, out: Path) -> ManifestRow:
    """Make one object's file below `out`, check it, and report; a bad one is removed and listed as failed."""
    row, path = job.row, out / job.file
    try:
        if job.suffix != ".glb":
            job.make(path)
            return ManifestRow.of(row, job.file, sha256_file(path))
        if not _is(path, row.sha256):
            remove(path)
            job.make(path)
        check_glb(path)
        found = sha256_file(path)
        if row.sha256 and found != row.sha256:
            raise UserError(f"sha256 {found} differs from the list's {row.sha256}")
        return ManifestRow.of(job.describe() if job.describe else row, job.file, found)
    except Exception as error:  # readers raise many kinds; one object's file must not end the set
        remove(path)
        return ManifestRow.of(row, reason=reason_of(error))


def fetch_set(
    job: ObjectsJob,
    out: Path,
    *,
    cache: Path = CACHE,
    downloads: Path | None = None,
    policy: Policy | None = None,
    force: bool = False,
) -> list[ManifestRow]:
    """Fetch a set into `out` and write `manifest.tsv` there (last); returns its rows, failed ones among them.

    cache, downloads: see `Context`. UserError if the source as a whole cannot be reached or the set is empty,
    and, unless force, if `out` holds files of another origin.
    """
    objects = job.objects
    policy = policy or Policy(attempts=job.attempts, stall_seconds=job.stall_seconds)
    jobs = SOURCES[objects.source](objects, Context(cache, policy, downloads))
    where = objects.list or objects.path
    if not jobs:
        raise UserError(f"the object set is empty: {where} has nothing for {objects.split!r}")
    check_ids((each.row.id for each in jobs), where)
    planned = [*(each.file for each in jobs), MANIFEST, f"{MANIFEST}{PROVENANCE}"]
    claim_folder(out, planned, known=_left_before(jobs, out), force=force)
    rows: list[ManifestRow] = []
    for number, each in enumerate(jobs, 1):
        rows.append(row := fetch_one(each, out))
        if row.reason or number % 100 == 0 or number == len(jobs):
            failed = f": failed: {row.reason}" if row.reason else ""
            print(f"[{number}/{len(jobs)}] {row.id}{failed}", file=sys.stderr, flush=True)
    # What this stage made of an earlier, different list goes; the user's own files stay.
    made = {path for end in (".glb", FRAMES_SUFFIX, PICTURES_SUFFIX) for path in out.glob(f"*{end}")}
    for path in made - {out / row.path for row in rows}:
        remove(path)
    inputs = {} if objects.list is None else {objects.list: sha256_file(project_file(objects.list))}
    counts = {"objects": len(rows), "objects_ok": sum(row.status == "ok" for row in rows)}
    write_provenance(out / MANIFEST, inputs=inputs, config=job.model_dump(mode="json"), **counts)
    write_manifest(out / MANIFEST, rows)
    return rows


def _left_before(jobs: Sequence[Job], out: Path) -> Iterator[str]:
    """Names of what a version without marks left: files with the bytes that the list or the manifest says."""
    expected = {job.file: job.row.sha256 for job in jobs}
    with contextlib.suppress(UserError, TypeError, ValueError):
        expected |= {row.path: row.sha256 for row in read_manifest(out / MANIFEST)}
        yield MANIFEST
    yield from (name for name, sha256 in expected.items() if _is(out / name, sha256))
