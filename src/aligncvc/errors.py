"""One clear sentence for everything a user can mend."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: the message says what, where and how, in one sentence."""


def reason_of(error: Exception) -> str:
    """Why one item of a set failed, in one line; of what is no UserError, the last place in this package."""
    if isinstance(error, UserError):
        return str(error)
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
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
