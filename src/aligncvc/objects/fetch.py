"""Fetch one named object set: every object ends as a checked GLB or as a failed line with its reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError, reason_of
from aligncvc.files import PROJECT_ROOT, PROVENANCE, sha256_file, write_provenance
from aligncvc.objects.download import Policy
from aligncvc.objects.frames import gobjaverse_jobs
from aligncvc.objects.glb import check_glb
from aligncvc.objects.gobjaverse import SUFFIX
from aligncvc.objects.listing import ManifestRow, ObjectRow, check_ids, read_manifest, write_manifest
from aligncvc.objects.objaverse_source import objaverse_jobs
from aligncvc.objects.sources import Context, Job, bundled_jobs, folder_jobs, sweethome3d_jobs
from aligncvc.ownership import claim_folder, remove

CACHE = PROJECT_ROOT / ".cache/objects"
MANIFEST = "manifest.tsv"
SOURCES: dict[str, Callable[[ObjectSet, Context], list[Job]]] = {
    "bundled": bundled_jobs,
    "sweethome3d": sweethome3d_jobs,
    "objaverse": objaverse_jobs,
    "folder": folder_jobs,
    "gobjaverse": gobjaverse_jobs,
}


def _already_there(row: ObjectRow, path: Path) -> bool:
    """Whether an earlier run left the listed bytes (only a list's hash can tell)."""
    return bool(row.sha256) and path.is_file() and sha256_file(path) == row.sha256


def fetch_one(job: Job, out: Path) -> ManifestRow:
    """Make one object's file below `out`, check it, and report; a bad one is removed and listed as failed."""
    row, path = job.row, out / f"{job.row.id}{job.suffix}"
    try:
        if job.suffix != ".glb":
            job.make(path)
            return ManifestRow.of(row, "ok", sha256=sha256_file(path), suffix=job.suffix)
        if not _already_there(row, path):
            remove(path)
            job.make(path)
        check_glb(path)
        found = sha256_file(path)
        if row.sha256 and found != row.sha256:
            raise UserError(f"sha256 {found} differs from the list's {row.sha256}")
        return ManifestRow.of(job.describe() if job.describe else row, "ok", sha256=found)
    except Exception as error:  # readers raise many kinds; one object's file must not end the set
        remove(path)
        return ManifestRow.of(row, "failed", reason_of(error))


def fetch_set(
    job: ObjectsJob,
    out: Path,
    *,
    cache: Path = CACHE,
    policy: Policy | None = None,
    progress: Callable[[int, int, ManifestRow], None] | None = None,
    force: bool = False,
) -> list[ManifestRow]:
    """Fetch a set into `out` and write `manifest.tsv` there (last); returns its rows in the list's order.

    Beside the manifest lies `manifest.tsv.provenance.json` with the list's hash and that of the job.

    Bad objects are rows with status failed. UserError if the source as a whole cannot be reached or the set
    is empty, and, unless force, if `out` holds files of another origin (`aligncvc.ownership`).
    """
    objects = job.objects
    jobs = SOURCES[objects.source](objects, Context(cache, policy or Policy()))
    if not jobs:
        raise UserError(
            f"the object set is empty: {objects.list or objects.path} has nothing for {objects.split!r}"
        )
    check_ids((each.row.id for each in jobs), objects.list or objects.path)
    names = [f"{each.row.id}{each.suffix}" for each in jobs]
    sidecars = [MANIFEST, f"{MANIFEST}{PROVENANCE}"]
    claim_folder(out, [*names, *sidecars], known=_left_before(jobs, out), force=force)
    rows = []
    for number, each in enumerate(jobs, 1):
        rows.append(fetch_one(each, out))
        if progress is not None:
            progress(number, len(jobs), rows[-1])
    _remove_left_over(out, {row.path for row in rows})
    inputs = {} if objects.list is None else {objects.list: sha256_file(PROJECT_ROOT / objects.list)}
    good = sum(row.status == "ok" for row in rows)
    write_provenance(
        out / MANIFEST,
        inputs=inputs,
        config=job.model_dump(mode="json"),
        objects=len(rows),
        objects_ok=good,
    )
    write_manifest(out / MANIFEST, rows)
    return rows


def _remove_left_over(out: Path, listed: set[str]) -> None:
    """Delete what this stage made of an earlier, different list; the user's own files stay."""
    for path in (*out.glob("*.glb"), *out.glob(f"*{SUFFIX}")):
        if path.name not in listed:
            remove(path)


def _left_before(jobs: Sequence[Job], out: Path) -> Iterator[str]:
    """Names of what a version without marks left: files with the bytes that the list or the manifest says."""
    expected = {f"{job.row.id}{job.suffix}": job.row.sha256 for job in jobs}
    with contextlib.suppress(UserError, TypeError, ValueError):
        expected |= {row.path: row.sha256 for row in read_manifest(out / MANIFEST)}
        yield MANIFEST
    for name, sha256 in expected.items():
        if sha256 and (out / name).is_file() and sha256_file(out / name) == sha256:
            yield name
