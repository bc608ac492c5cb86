"""Files and folders that are not finished: under names that say so, and gone when their writer ends.

Not even a killed writer's remains are in the way. They never lie under a final name, and the next writer of
the same file takes them over. A writer that is alive holds a lock on its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aligncvc.errors import OutputError, UserError, unwritable

PREFIX = ".aligncvc-"
ROOM = 1 << 20
LONGEST_NAME = 255
"""Bytes, of the usual file systems."""
REMEDY = "free space there, or give another place, and start again"


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, with its suffix. The block renames it, or fails; then it is gone.

    Raises OutputError if the block fails because nothing more can be written; other errors pass.
    """
    name = f"{PREFIX}{path.name}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{PREFIX}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{path.suffix}"
    temporary, lock = path.with_name(name), None
    with suppress(OSError):  # it is another writer's, or no lock can be had here
        lock = _locked(temporary)
    if lock is None:
        temporary = path.with_name(f"{PREFIX}{secrets.token_hex(8)}{path.suffix}")
        lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    placed = False
    try:
        yield temporary
        placed = True  # its name may be another writer's by now
    except UserError:
        raise
    except Exception as error:  # torch and safetensors have kinds of their own for a full disk
        if fault := unwritable(error) or _full(temporary):
            raise OutputError(f"{path} could not be written ({fault}); {REMEDY}") from error
        raise
    finally:
        if not placed:
            temporary.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A new folder below `folder` where files are put together; gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(lock)


def sweep(folder: Path) -> None:
    """Remove what killed writers left directly in a folder; what a living one holds stays."""
    found = [Path(each) for each in os.scandir(folder) if each.name.startswith(PREFIX)]
    for path in found:
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(lock)


def require_room(folder: Path) -> None:
    """Raises OutputError if not even a megabyte can be written into a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            handle.write(bytes(ROOM))
    except OSError as error:
        raise OutputError(
            f"nothing more can be written into {folder} ({error.strerror}); {REMEDY}"
        ) from error


def _locked(path: Path) -> int | None:
    """Descriptor of the emptied file, locked until it is closed; None if somebody else's lock is on it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # it was not renamed meanwhile
            os.ftruncate(descriptor, 0)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _full(path: Path) -> str | None:
    """Why an unfinished file cannot grow by a megabyte, or None if it can."""
    try:
        with path.open("ab") as handle:
            handle.write(bytes(ROOM))
    except OSError as error:
        return error.strerror
    return None
