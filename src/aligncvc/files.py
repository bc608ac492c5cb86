"""Files that are either complete or absent, and that can say where they came from."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import hashlib
import io
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from aligncvc.home import PROJECT_ROOT as PROJECT_ROOT
from aligncvc.ownership import place
from aligncvc.ownership import sha256_file as sha256_file
from aligncvc.unfinished import unfinished_file

PROVENANCE = ".provenance.json"
"""End of the name of what `write_provenance` writes beside an artefact."""


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it onto `path` only if the block succeeds.

    In a place that is claimed (`aligncvc.ownership`), UserError if a file of another origin lies there, and
    OutputError if nothing more can be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_file(path) as temporary:
        yield temporary
        place(temporary, path)


def read_text(path: Path | str) -> str:
    """Text that people write, however their editor marks it: UTF-8, or UTF-16 by its byte order mark.

    Raises OSError, and ValueError, which says how to mend it, for bytes that are neither.
    """
    return "".join(text_lines(path))


def text_lines(path: Path | str) -> Iterator[str]:
    """The lines of `read_text`, their ends among them, one after another: a file may be long."""
    with Path(path).open("rb") as handle:
        wide = handle.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        handle.seek(0)
        try:
            yield from io.TextIOWrapper(handle, "utf-16" if wide else "utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8; save it as UTF-8") from None


def parse_yaml(text: str) -> Any:
    """What YAML holds, by libyaml where there is one: ten times faster. Raises yaml.YAMLError."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) atomically; bytes of a file's name that are no UTF-8 are written as escapes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON-serialisable value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_provenance(
    artefact: Path | str, *, inputs: Mapping[str, str], config: Any, seed: int | None = None, **facts: Any
) -> None:
    """Write `<artefact>.provenance.json`. inputs: name -> sha256 of what the artefact was made from."""
    from aligncvc import __version__

    made = {
        "artefact": Path(artefact).name,
        "version": __version__,
        "config_sha256": sha256_json(config),
        "inputs": dict(inputs),
        "seed": seed,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "written_unix": int(time.time()),
    }
    write_json(f"{artefact}{PROVENANCE}", made | facts)


def visible_files(folder: Path) -> list[Path]:
    """The files below a folder, sorted, without what systems put there: hidden names and __MACOSX."""
    found: list[Path] = []
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__MACOSX"]
        found += [path for name in names if name[0] != "." and (path := Path(at, name)).is_file()]
    return sorted(found)


def content_facts(folder: Path) -> str:
    """A hash of the names, sizes and dates of the visible files below a folder, which nothing has to read."""
    found = []
    for path in visible_files(folder):
        with contextlib.suppress(OSError):  # gone meanwhile
            facts = path.stat()
            found.append([str(path.relative_to(folder)), facts.st_size, facts.st_mtime_ns])
    return sha256_json(found)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time inside, for a folder that several jobs fill: the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # released when the handle closes, also by a crash
        yield
