"""How much one input may ask for. What is larger is refused before it is read, and says so.

A file of a few kilobytes can unpack to a terabyte, or declare a billion vertices. The limits lie far above
what models of this field have. Pictures have Pillow's own limit (`scene.pictures`).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import signal
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from aligncvc.errors import UserError

MODEL_BYTES = 2 << 30
"""Of a model's file, and of each file that it names."""
VALUES = 500_000_000
"""Numbers that the accessors of a glTF file declare together."""
UNPACKED_BYTES = 2 << 30
"""Of what is read out of an archive at once."""
DOWNLOAD_BYTES = 8 << 30
VERTICES = 20_000_000
"""That a glTF scene draws, a mesh that several nodes show counted for each."""
NODES = 1_000_000
READ_SECONDS = 600.0
"""For one model."""


def read_file(path: Path, most: int = MODEL_BYTES) -> bytes:
    """Bytes of a regular file. UserError for a device, a pipe or a larger file; OSError as usual."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no ordinary file; give one")
    with path.open("rb") as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise UserError(f"{path} has more than {size(most)}; give a smaller file")
    return data


def read_members(archive: zipfile.ZipFile, names: list[str], most: int = UNPACKED_BYTES) -> dict[str, bytes]:
    """Members of an archive by name. UserError if they unpack to more; KeyError, BadZipFile as usual."""
    if sum(archive.getinfo(name).file_size for name in names) > most:
        raise UserError(f"{archive.filename} unpacks to more than {size(most)}; give a smaller archive")
    return {name: archive.read(name) for name in names}  # zipfile reads no more than a member declares


def require_small_zip(path: Path, most: int = UNPACKED_BYTES) -> None:
    """UserError if the members of an archive, such as a .npz, unpack to more. BadZipFile if it is none."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > most:
            raise UserError(f"{path} unpacks to more than {size(most)}; make it again")


def gunzip(data: bytes, most: int = UNPACKED_BYTES) -> bytes:
    """Unpacked bytes. UserError if there are more; OSError, EOFError and zlib.error for what is no gzip."""
    with gzip.open(io.BytesIO(data)) as stream:
        unpacked = stream.read(most + 1)
    if len(unpacked) > most:
        raise UserError(f"a gzip file unpacks to more than {size(most)}; give another source")
    return unpacked


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / (1 << 30):g} GiB" if count >= 1 << 30 else f"{count:,} bytes"


@contextlib.contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """UserError if the block takes longer. Only the main thread of a process can be interrupted so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(_: int, frame: FrameType | None) -> None:
        raise UserError(f"{what} took longer than {seconds:g} s to read; simplify it or leave it out")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
