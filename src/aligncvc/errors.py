"""One clear sentence for everything a user can mend."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend: the message says what, where and how, in one sentence."""


def cli(main: Callable[[], None]) -> None:
    """Run `main`; a `UserError` becomes one line on standard error and exit status 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
