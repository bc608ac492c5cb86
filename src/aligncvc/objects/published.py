"""Meshes out of the archives that they were published in, or of a local mirror that holds one GLB each.

A list's `source` is <address of a .zip or .tar.gz>#<path of the mesh in it>, `source_sha256` the hash of that
file. A mirror is a folder with what the list's `path` names; there the list's `sha256` binds.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import locked, sha256_file
from aligncvc.limits import UNPACKED_BYTES, size
from aligncvc.objects.download import download
from aligncvc.objects.folder import convert_row, folder_jobs
from aligncvc.objects.listing import ObjectRow
from aligncvc.objects.sources import Context, Job, listed
from aligncvc.scene.formats import MESHES, PICTURES

UNREADABLE = (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
KEPT = (*MESHES, *PICTURES, ".bin", ".mtl")
"""Of an archive, all other files are left out."""


def published_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Objects of the set's list: from its `path`, a mirror, if there is one, else from where they come.

    What is converted here has other bytes than the mirror's GLB, so its hash is recorded and not compared.
    """
    if objects.path is not None:
        return folder_jobs(objects, context)
    return [Job(replace(row, sha256=""), partial(make, row, context)) for row in listed(objects)]


def make(row: ObjectRow, context: Context, out: Path) -> None:
    """Write one object's GLB. UserError if it was not published, is not in its archive or is another file."""
    address, mark, inside = row.source.partition("#")
    if not (mark and inside) or ".." in PurePosixPath(inside).parts or inside.startswith("/"):
        raise UserError(
            f"{row.source} is no address of an archive with #path after it; set `path` of the object set to "
            "a folder that mirrors its list"
        )
    folder = unpacked(address, context)
    places = (folder, *sorted(folder.iterdir()))  # GitHub puts all into one folder of its own
    mesh = next((path for place in places if (path := place / inside).is_file()), None)
    if mesh is None:
        raise UserError(f"{address} has no file {inside}; correct the column `source` of the list")
    found = sha256_file(mesh)
    if row.source_sha256 not in ("", found):
        raise UserError(f"{inside} has sha256 {found}, the list's source_sha256 is {row.source_sha256}")
    convert_row(row, mesh, out)


def unpacked(address: str, context: Context) -> Path:
    """The folder with an archive's meshes and what they name, fetched once. UserError for a bad one."""
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    kept = context.cache / "published" / name
    with locked(context.cache):  # the jobs of several sets and shards want the same archive
        if not kept.is_dir():
            archive = kept.with_name(f"{name}{'.zip' if address.endswith('.zip') else '.tar.gz'}")
            download(address, archive, policy=context.policy)
            with tempfile.TemporaryDirectory(prefix=".", dir=kept.parent) as scratch:
                try:
                    _unpack(archive, Path(scratch) / name)
                except UNREADABLE as error:
                    raise UserError(f"{address} cannot be unpacked: {error}") from None
                finally:
                    archive.unlink()  # what was unpacked is kept, and what cannot be is fetched anew
                (Path(scratch) / name).rename(kept)
    return kept


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    left = UNPACKED_BYTES
    for name, length, handle in _members(archive):
        parts = PurePosixPath(name).parts
        if ".." in parts or name.startswith("/") or "\\" in name:
            raise UserError(f"the archive has a file {name!r}, which would lie outside of its folder")
        left -= length
        if left < 0:
            raise UserError(f"the archive unpacks to more than {size(UNPACKED_BYTES)}; give a smaller one")
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            shutil.copyfileobj(handle, out)


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """(name, bytes, content) of the regular files that are KEPT; links and devices are none."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir() and info.filename.lower().endswith(KEPT):
                    with opened.open(info) as content:
                        yield info.filename, info.file_size, content
        return
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.isfile() and member.name.lower().endswith(KEPT):
                unpacked_file = tar.extractfile(member)
                assert unpacked_file is not None
                yield member.name, member.size, unpacked_file
