"""`python -m aligncvc.render.shard`: one shard of a long object list, from addresses to an archive of views.

A shard is an ordinary small set: the same stages work on its lines of the list, in a folder `work` beside the
archive. The folder lasts until the archive is complete, so a job that was killed goes on where it was.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.jobs.objects import ObjectsJob
from aligncvc.config.jobs.shard import ShardJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli
from aligncvc.files import locked, write_text
from aligncvc.objects.fetch import CACHE, MANIFEST, fetch_set
from aligncvc.objects.shard_lists import shard_list
from aligncvc.ownership import claim_folder
from aligncvc.render.results import Status
from aligncvc.render.run import render_objects
from aligncvc.scene.archives import INDEX, TAR, ArchivedObject, index_key, read_index, write_shard

WORK = "work"
FEW = 8
"""So many objects of a shard may fail by chance. If more do, and they are most, something else is wrong."""


def make_shard(
    job: ShardJob,
    number: int,
    out: Path,
    *,
    cache: Path = CACHE,
    workers: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> list[ArchivedObject]:
    """Make shard `number` in the folder `out`; the rows of its index. A finished one is left as it is.

    Raises UserError if most of its objects fail, as when a server is down: then `work` stays, and the next
    call tries again those that failed.
    """
    listed, rows = shard_list(job.objects.objects, job.size, number)
    key, work = job.key(rows), out / WORK
    if index_key(out) != key:
        claim_folder(out, [TAR, INDEX], force=force)
        write_text(work / "list.tsv", listed)
        with locked(work):  # a job may outlive the snakemake that started it
            if index_key(out) != key:
                _archive(job, key, out, cache, (workers, threads), f"shard {number}")
    shutil.rmtree(work, ignore_errors=True)
    return read_index(out)


def _archive(
    job: ShardJob, key: str, out: Path, cache: Path, crew: tuple[int | None, int | None], name: str
) -> None:
    """Fetch, render and write what `work/list.tsv` lists."""
    work = out / WORK
    objects, renders = work / "objects", work / "renders"
    # all below `work` is this program's, whatever a kill has left there: force
    fetching, downloads = _of_list(job.objects, work / "list.tsv"), work / "downloads"
    fetch_set(fetching, objects, cache=cache, downloads=downloads, force=True)
    statuses = render_objects(job.render, objects / MANIFEST, renders, *crew, force=True)
    _require_some(statuses, name)
    write_shard(out, [_archived(status, work) for status in statuses], renders, key)


def _of_list(job: ObjectsJob, listed: Path) -> ObjectsJob:
    """The same source with this list, all of it."""
    own = {"list": str(listed.resolve()), "split": "all", "limit": None}
    return job.model_copy(update={"objects": job.objects.model_copy(update=own)})


def _archived(status: Status, work: Path) -> ArchivedObject:
    """What the index says of an object: nothing that another run, elsewhere, would say otherwise."""
    reason = status.reason.replace(f"{work.resolve()}/", "").replace(f"{work}/", "")
    facts = (status.job_hash, status.licence, status.creator)
    return ArchivedObject(status.id, status.status, status.stage, reason, *facts)


def _require_some(statuses: Sequence[Status], name: str) -> None:
    failed = [s for s in statuses if not s.ok]
    if len(failed) > max(FEW, len(statuses) / 2):
        raise UserError(
            f"{len(failed)} of {len(statuses)} objects of {name} failed, for example {failed[0].id} "
            f"at {failed[0].stage}: {failed[0].reason}; mend that and start again: those are tried anew"
        )


def shard(
    number: int,
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    name: Annotated[str, tyro.conf.arg(name="object-set")] = "train",
    cache: Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> None:
    """Fetch and render the nth `objects.shard_size` objects of a set's list into one archive.

    Args:
        number: which shard, from 0.
        out: folder that receives views.tar and index.tsv.
        settings: settings of this job, as the workflow writes them, instead of --config and --object-set.
        config: YAML configuration; config/config.yaml by default.
        name: which of the configuration's objects.sets.
        cache: folder for what all shards share, such as an index of what lies where; .cache/objects of the
            checkout if left out.
        workers: Blender processes side by side; one per thread by default.
        threads: CPU threads in all; every one this process may use by default.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    job = ShardJob.read(settings, changes) if settings else Plan.read(config, changes).shard(name)
    crew = {"workers": workers, "threads": threads}
    rows = make_shard(job, number, out, cache=cache or CACHE, **crew, force=force)
    failed = Counter(row.stage for row in rows if not row.ok)
    said = "".join(f", {count} failed at {stage}" for stage, count in sorted(failed.items()))
    print(f"{out / TAR}: {len(rows) - failed.total()} of {len(rows)} objects{said}")


COMMAND = shard


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
