"""Where the project's own files lie: in the checkout, or inside the package that was installed from it.

Standard library only, and imported before anything else of the package.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DATA = _PACKAGE / "data"
"""What a wheel carries of the checkout (see setup.py), at the same relative paths. A checkout has none."""

PROJECT_ROOT = _DATA if _DATA.is_dir() else _PACKAGE.parents[1]
"""The checkout; of an installed package, the folder that is laid out like it."""

IN_CHECKOUT = PROJECT_ROOT != _DATA


def project_file(path: Path | str, root: Path = PROJECT_ROOT, in_checkout: bool = IN_CHECKOUT) -> Path:
    """A path that a configuration, a protocol or the ledger names; an absolute one stays.

    A relative one counts from the checkout. Of an installed package it is a file that came with it, else one
    seen from the working folder, since nobody keeps files of their own inside a package.
    """
    path = Path(path).expanduser()
    inside = root / path
    return inside if in_checkout or inside.exists() else Path.cwd() / path


def writable_checkout(root: Path = PROJECT_ROOT) -> bool:
    """Whether this is a checkout in which caches may lie."""
    return (root / "pyproject.toml").is_file() and os.access(root, os.W_OK)


def cache_folder(name: str, root: Path = PROJECT_ROOT) -> Path:
    """Folder for what can be made again: below `.cache` of the checkout, else in the user's cache."""
    if writable_checkout(root):
        return root / ".cache" / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aligncvc" / name
