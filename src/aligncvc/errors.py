"""One clear sentence for everything a user can mend."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""What the system says where nothing more can be written."""


class UserError(Exception):
    """Something the user can mend: the message says what, where and how, in one sentence."""


class OutputError(UserError):
    """Nothing more can be written where results go: the fault of no item, so it ends the command."""


class Stopped(SystemExit):
    """A signal asked the program to end. It ends as others do: what is unfinished is removed on the way."""


def unwritable(error: BaseException | None) -> str | None:
    """What the system said if an error, or what it was raised from, is that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None


def reason_of(error: Exception) -> str:
    """Why one item of a set failed, in one line; of what is no UserError, the last place in this package.

    Raises OutputError for what is no item's fault: the next item would fail alike, and be left out for it.
    """
    if isinstance(error, OutputError):
        raise error
    if fault := unwritable(error):
        raise OutputError(f"nothing more can be written ({fault}); free space and start again") from error
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return _said(error)
    here = str(Path(__file__).parent)
    places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(here)]
    where = f", in {Path(places[-1].filename).name} line {places[-1].lineno}" if places else ""
    said = " ".join(str(error).split()) or "nothing more is known"
    if isinstance(error, MemoryError):
        return f"it needs more memory than this machine has ({said}{where}); use smaller files"
    return f"it could not be handled ({type(error).__name__}: {said}{where}); check its files"


def cli(main: Callable[[], None]) -> None:
    """Run `main`; a `UserError` becomes one line on standard error and exit status 2.

    Help and usage name the command as it is typed, and no path of this machine. Names of files that are no
    UTF-8 are printed with escapes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    spec = sys.modules["__main__"].__spec__
    name = "" if spec is None else spec.name.removesuffix(".__main__")
    if "." in name:  # the package itself runs commands that it names
        sys.argv[0] = f"python -m {name}"
    try:
        with _stoppable():
            main()
    except UserError as error:
        _end(str(error))
    except Stopped as error:
        _end("stopped by a signal; start it again to go on", error.code)
    except KeyboardInterrupt:
        _end("stopped from the keyboard; start it again to go on", 128 + signal.SIGINT)
    except BrokenPipeError:  # `... | head`: the reader has what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None
    except MemoryError as error:
        _end(f"this needs more memory than the machine has ({error or 'no more is known'}); use a larger one")
    except OSError as error:
        _end(_said(error))


def _said(error: OSError) -> str:
    """The sentence for what the file system refuses, wherever it does."""
    what = error.strerror or " ".join(str(error).split())
    if fault := unwritable(error):
        return f"nothing more can be written ({fault}); free space and start again"
    if error.filename is None:
        return f"a file or a connection failed ({what}); check the disk and the network, and start again"
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
    if isinstance(error, FileNotFoundError):
        return f"{name} is not there, or not any more; bring it back and start again"
    if isinstance(error, FileExistsError | NotADirectoryError) and (fault := _no_folder(Path(name))):
        return fault
    return f"{name} cannot be used ({what}); mend its permissions or give another, and start again"


def _no_folder(path: Path) -> str | None:
    """The sentence for what stands where `path`, or a folder above it, should be a folder."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            return (
                f"{place} is a link to {place.readlink()}, which is not there; make that, or remove the link"
            )
        if place.exists() and not place.is_dir():
            return f"{place} is a file where a folder is needed; move it away, or give another place"
    return None


def _end(sentence: str, status: int | str | None = 2) -> None:
    with contextlib.suppress(OSError):  # standard error lies on the full disk
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(status) from None


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as an error does, a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Stopped(128 + number)

    asked = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, stop) for each in asked}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
