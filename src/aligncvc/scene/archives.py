"""Rendered objects in archives: one tar and one index a shard, read by object.

A shard is a folder with `views.tar` and `index.tsv`. The tar holds `<id>/ring.<file>` for each file of an
object's folder, so that WebDataset takes an object for one sample. The index says where in the tar an object
begins and how long it is, so that one read brings it, and why an object is not there. Equal renders make
equal bytes: no dates, no owners, no durations. A set's manifest has one row a shard.
"""

from __future__ import annotations

import bisect
import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.files import atomic_path, sha256_file
from aligncvc.tsv import read_tsv, write_tsv

TAR, INDEX = "views.tar", "index.tsv"
SHARDS = "shards"
"""Folder beside a set's manifest that has one folder a shard."""
FAILURES = "failures.tsv"
"""Beside a sharded set's manifest: the objects that it lacks."""
PREFIX = "ring."
"""Of the files' names in the tar: what follows is one field of a WebDataset sample."""
OPEN_SHARDS = 8
"""Shards that a walk mixes and that a reader keeps open."""
MEND = "make the set's shards again with snakemake"


@dataclass(frozen=True)
class ArchivedObject:
    """One row of an index. offset, length: its bytes in the tar; 0 and 0 of one that failed.

    stage, reason: why it failed; job_hash: equal hashes mean equal renders.
    """

    id: str
    status: str
    stage: str
    reason: str
    job_hash: str
    licence: str
    creator: str
    offset: int = 0
    length: int = 0

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class Shard:
    """One row of a sharded set's manifest. sha256: of its index, which holds the tar's."""

    shard: str
    objects: int
    ok: int
    sha256: str


COLUMNS = tuple(f.name for f in fields(ArchivedObject))
SHARD_COLUMNS = tuple(f.name for f in fields(Shard))


def write_shard(folder: Path, rows: Iterable[ArchivedObject], renders: Path, key: str = "") -> None:
    """Write a shard's tar and, last, its index: one that is there is complete.

    rows: without places; the files of those that are ok are taken from `renders/<id>`, but for their status.
    key: a hash of all that the shard was made from, kept in the index.
    """
    placed = []
    with atomic_path(folder / TAR) as temporary, tarfile.open(temporary, "w") as tar:
        for row in rows:
            start = tar.offset
            for path in sorted((renders / row.id).glob("*")) if row.ok else ():
                if path.suffix in (".png", ".npy") or path.name == "cameras.json":
                    _add(tar, f"{row.id}/{PREFIX}{path.name}", path.read_bytes())
            placed.append(replace(row, offset=start, length=tar.offset - start) if row.ok else row)
    comment = f"key {key}\ntar {sha256_file(folder / TAR)}"
    write_tsv(folder / INDEX, COLUMNS, map(asdict, placed), comment)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)  # dates, owners and rights are zero or fixed
    about.size = len(data)
    tar.addfile(about, io.BytesIO(data))


def index_key(folder: Path) -> str | None:
    """The key that a finished shard was made with; None if there is no finished one."""
    try:
        with (folder / INDEX).open(encoding="utf-8") as lines:
            word, _, key = lines.readline().removeprefix("# ").strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return key if word == "key" and (folder / TAR).is_file() else None


def read_index(folder: Path) -> list[ArchivedObject]:
    """The rows of a shard's index. Raises UserError if it cannot be read."""
    path = folder / INDEX
    try:
        return [
            ArchivedObject(**{**row, "offset": int(row["offset"]), "length": int(row["length"])})  # type: ignore[arg-type]
            for row in read_tsv(path, COLUMNS, MEND)
        ]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is no index of a shard ({error}); {MEND}") from None


def read_object(folder: Path, row: ArchivedObject) -> dict[str, bytes]:
    """The files of one object by name, by one read. Raises UserError if they are not where the index says."""
    path = folder / TAR
    try:
        data = os.pread(_opened(path), row.length, row.offset)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            begin = f"{row.id}/{PREFIX}"
            found = {member.name.removeprefix(begin): _content(tar, member) for member in tar}
            if len(data) == row.length and all(member.name.startswith(begin) for member in tar):
                return found
        why = "other files lie there"
    except (OSError, tarfile.TarError) as error:
        why = str(error)
    raise UserError(f"{path} does not hold {row.id} where its index says ({why}); {MEND}")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = tar.extractfile(member)
    return b"" if handle is None else handle.read()


class _Descriptor:
    """An open file, closed with the last that holds it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


@lru_cache(OPEN_SHARDS)
def _descriptor(path: Path, written: int) -> _Descriptor:
    return _Descriptor(path)


def _opened(path: Path) -> int:
    """A descriptor for `os.pread`, which forked readers may share; a file written anew is opened anew."""
    return _descriptor(path, path.stat().st_mtime_ns).number


def shard_name(number: int) -> str:
    """Name of a shard's folder."""
    return f"{number:05d}"


def write_failures(path: Path, failed: Iterable[tuple[str, ArchivedObject]]) -> None:
    """Write the table of objects that failed, each with its shard, atomically."""
    rows = ({"shard": shard, **asdict(row)} for shard, row in failed)
    write_tsv(path, ("shard", "id", "stage", "reason"), rows)


def read_failures(path: Path, most: int) -> list[dict[str, str]]:
    """The first rows of that table, for people. Raises UserError if it cannot be read."""
    try:
        with path.open(encoding="utf-8") as lines:
            names = lines.readline().rstrip("\n").split("\t")
            rows = [line.rstrip("\n").split("\t") for line in islice(lines, most)]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"no table can be read from {path} ({error}); {MEND}") from None
    found = [dict(zip(names, row, strict=False)) for row in rows]
    return [{"stage": "", "reason": "", **row, "name": row.get("id", "")} for row in found]


def write_shards(path: Path, shards: Iterable[Shard]) -> None:
    """Write a sharded set's manifest atomically."""
    write_tsv(path, SHARD_COLUMNS, map(asdict, shards))


def is_sharded(manifest: Path) -> bool:
    """Whether a manifest of renders lists shards and not objects."""
    try:
        with manifest.open(encoding="utf-8") as lines:
            return tuple(lines.readline().rstrip("\n").split("\t")) == SHARD_COLUMNS
    except (OSError, UnicodeDecodeError):
        return False  # who reads it says what is wrong


class Archives:
    """The rendered objects of a sharded set: how many there are is known, which they are is read when asked.

    Positions count the objects whose status is ok, shard by shard.
    """

    def __init__(self, manifest: Path) -> None:
        """Raises UserError for a manifest that cannot be read."""
        rows = read_tsv(manifest, SHARD_COLUMNS, MEND)
        self.folder = manifest.parent / SHARDS
        self.shards = [Shard(r["shard"], int(r["objects"]), int(r["ok"]), r["sha256"]) for r in rows]
        self.ends = list(accumulate(shard.ok for shard in self.shards))
        self.index = lru_cache(2 * OPEN_SHARDS)(self._index)

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @property
    def content(self) -> list[object]:
        """What tells two sets of renders apart."""
        return [astuple(shard) for shard in self.shards]

    def _index(self, number: int) -> list[ArchivedObject]:
        shard = self.shards[number]
        rows = [row for row in read_index(self.folder / shard.shard) if row.ok]
        if len(rows) != shard.ok:
            raise UserError(
                f"{self.folder / shard.shard} holds {len(rows)} objects and the manifest says {shard.ok}; "
                f"{MEND}"
            )
        return rows

    def at(self, position: int) -> tuple[Path, ArchivedObject]:
        """(shard's folder, row) of the object at a position."""
        number = bisect.bisect_right(self.ends, position)
        start = self.ends[number - 1] if number else 0
        return self.folder / self.shards[number].shard, self.index(number)[position - start]

    def ids(self) -> list[str]:
        """The ids of all objects, for those who want them all: it reads every index."""
        return [row.id for number in range(len(self.shards)) for row in self._index(number)]


def decoded(files: Mapping[str, bytes], name: str, where: Path | str) -> str:
    """A text among an object's files. Raises UserError if it is not there."""
    try:
        return files[name].decode()
    except (KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{where} has no readable {name} ({error!r}); {MEND}") from None
