"""`python -m aligncvc.render.gather`: the manifest of a sharded set, and the table of what failed in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from aligncvc.config.jobs.shard import ShardJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli
from aligncvc.files import sha256_file
from aligncvc.objects.shard_lists import shard_hashes
from aligncvc.ownership import claim_files
from aligncvc.render.run import require_few_failed
from aligncvc.scene.archives import (
    FAILURES,
    INDEX,
    SHARDS,
    ArchivedObject,
    Shard,
    index_key,
    read_index,
    shard_name,
    write_failures,
    write_shards,
)


def gather_shards(job: ShardJob, out: Path, force: bool = False) -> tuple[list[Shard], Counter[str]]:
    """Write `out/manifest.tsv`, one row a shard, and `out/failures.tsv`, one row an object that failed.

    Returns the former, and how many failed at which stage. Shards are read one at a time. Raises UserError
    for a shard that is missing or was made otherwise, and, after writing, when too many objects failed.
    """
    keys = [job.key(rows) for rows in shard_hashes(job.objects.objects, job.size)]
    for number, key in enumerate(keys):
        if index_key(out / SHARDS / shard_name(number)) != key:
            raise UserError(
                f"{out / SHARDS / shard_name(number)} is missing or was made of another list or with other "
                "settings; make it with snakemake or python -m aligncvc.render.shard"
            )
    shards: list[Shard] = []
    stages: Counter[str] = Counter()
    example: list[ArchivedObject] = []

    def failed() -> Iterator[tuple[str, ArchivedObject]]:
        for number in range(len(keys)):
            folder = out / SHARDS / shard_name(number)
            rows = read_index(folder)
            bad = [row for row in rows if not row.ok]
            shards.append(Shard(folder.name, len(rows), len(rows) - len(bad), sha256_file(folder / INDEX)))
            stages.update(row.stage for row in bad)
            example.extend(bad[: not example])
            yield from ((folder.name, row) for row in bad)

    claim_files([out / "manifest.tsv", out / FAILURES], force=force)
    write_failures(out / FAILURES, failed())
    write_shards(out / "manifest.tsv", shards)
    total = sum(shard.objects for shard in shards)
    require_few_failed(job.render, stages.total(), total, example, out / FAILURES)
    return shards, stages


def gather(
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    name: Annotated[str, tyro.conf.arg(name="object-set")] = "train",
    force: bool = False,
) -> None:
    """List the shards of a set, and the objects that failed with their reasons.

    Args:
        out: folder with `shards` in it; it receives manifest.tsv and failures.tsv.
        settings: settings of the shards' jobs, as the workflow writes them, instead of --config and
            --object-set.
        config: YAML configuration; config/config.yaml by default.
        name: which of the configuration's objects.sets.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    job = ShardJob.read(settings, changes) if settings else Plan.read(config, changes).shard(name)
    shards, stages = gather_shards(job, out, force)
    objects, ok = sum(shard.objects for shard in shards), sum(shard.ok for shard in shards)
    print(f"{out / 'manifest.tsv'}: {len(shards)} shards, {ok} of {objects} objects")
    for stage, count in sorted(stages.items()):
        print(f"  {count} failed at {stage}")


COMMAND = gather


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
