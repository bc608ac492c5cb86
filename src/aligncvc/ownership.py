"""Whose file is it? Only what this program wrote is replaced or removed; anything else stops it before work.

A file `.aligncvc` lists what was written beside it: JSON lines, a name and a sha256 each. A folder that a
command fills is its own: what is listed there may be made anew, altered or not, so that a rerun mends a
damaged file. Single files lie in the user's folders: there the bytes must still be those that were written.
A command first claims its outputs; `files.atomic_path` then replaces nothing else in a claimed place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.unfinished import PREFIX, sweep

MARK = ".aligncvc"
ABOUT = {"made_by": "aligncvc", "about": "what this program wrote here; it replaces nothing else"}
HARMLESS = re.compile(r"\.gitkeep|\.DS_Store|\.snakemake.*|.*\.log|\.aligncvc.*")
"""Names that may lie in a folder of nobody's: placeholders, logs, marks."""
UNLISTED = ({"artefact", "config_sha256", "inputs"}, {"protocol_class", "hash", "metrics"})
"""Keys of the JSON files that versions without marks wrote beside an output: provenance, protocol."""


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass
class _Claim:
    """What may be written in a folder. whole: the folder is the program's own, with all below it."""

    folder: Path
    force: bool
    whole: bool = False
    wrote: dict[str, set[str | None]] = field(default_factory=dict)
    pending: list[object] = field(default_factory=list)
    """Lines that go into the list with the first file: a command that fails before leaves nothing behind."""
    placed: set[str] = field(default_factory=set)
    """What this process wrote."""

    def __post_init__(self) -> None:
        mark = self.folder / MARK
        text = mark.read_text("utf-8", "replace") if mark.is_file() else ""
        self.torn = text[-1:] not in ("", "\n")  # by a process that was killed
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            match entry:
                case {"made_by": "aligncvc", "folder": True}:
                    self.whole = True
                case [str(name), (str() | None) as sha256]:
                    self.wrote.setdefault(name, set()).add(sha256)

    def name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def owns(self, path: Path) -> bool:
        """Whether a file that exists is this program's."""
        hashes = self.wrote.get(self.name(path), set())
        if None in hashes or (self.whole and hashes):
            return True
        return (path.is_file() and sha256_file(path) in hashes) or _unlisted(path)

    def require(self, path: Path) -> None:
        """Raises UserError if `path` is a folder, lies below a file, or is a file of another origin."""
        _need_folder(path.parent)
        if path.is_dir():
            raise UserError(f"{path} is a folder where a file is needed; move it or give another --out")
        if os.path.lexists(path) and not self.force and not self.owns(path):
            raise UserError(
                f"{path} was not written by this program, or was changed since; move it away, give another "
                "--out, or replace it with --force"
            )

    def strangers(self) -> Iterator[str]:
        """Files below the folder that are neither this program's nor harmless."""
        for folder, inner, names in os.walk(self.folder):
            inner[:] = [name for name in inner if not name.startswith(PREFIX)]
            for path in (Path(folder, name) for name in sorted(names)):
                if not HARMLESS.fullmatch(path.name) and not self.owns(path):
                    yield self.name(path)

    def note(self, path: Path, sha256: str | None) -> None:
        """List a file; before it is in place, so that a process killed in between leaves no stranger."""
        known = self.wrote.setdefault(self.name(path), set())
        if sha256 not in known:
            self.append([self.name(path), sha256])
            known.add(sha256)

    def append(self, entry: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / MARK
        first = [] if mark.exists() else [ABOUT]
        with mark.open("a", encoding="utf-8") as handle:
            lines = (json.dumps(line) + "\n" for line in (*first, *self.pending, entry))
            handle.write("\n" * self.torn + "".join(lines))
        self.torn, self.pending = False, []


_CLAIMS: dict[Path, _Claim] = {}
"""Of this process, by claimed file or folder."""


def claim_folder(
    out: Path,
    planned: Iterable[str] = (),
    *,
    kept: Iterable[str] = (),
    known: Iterable[str] = (),
    force: bool = False,
) -> None:
    """Make `out` this program's folder. Raises UserError, before anything is written, unless it is new,
    empty or marked as the program's, and nothing `planned` (names below it) meets a file of another origin.

    kept: names that are written otherwise than by `atomic_path`. known: what versions without marks left.
    """
    claim = _Claim(out.resolve(), force)
    _try_to_write(claim.folder)
    known = [] if claim.whole else list(known)
    claim.wrote |= {name: {None} for name in known}
    found = [] if claim.whole or force else list(islice(claim.strangers(), 3))
    if found:
        raise UserError(
            f"{out} holds files that this program did not make ({', '.join(found)}); give --out a new or "
            "empty folder, or write among them with --force, which replaces files of the same name"
        )
    for name in (*planned, *(kept := list(kept))):
        claim.require(claim.folder / name)
    if not claim.whole:
        claim.whole = True
        claim.pending = [{**ABOUT, "folder": True}]
        for name in known:  # at once: a run that has nothing to write must leave the mark too
            claim.append([name, None])
    for name in kept:
        claim.note(claim.folder / name, None)
    if claim.folder.is_dir():
        sweep(claim.folder)
    _CLAIMS[claim.folder] = claim


def claim_files(
    paths: Iterable[Path], *, inputs: Iterable[Path] = (), kept: Iterable[Path] = (), force: bool = False
) -> None:
    """Claim single files, side products among them. Raises UserError, before anything is written, unless
    each is new or as this program wrote it, and if one is an input (even by force).

    kept: files that are written otherwise than by `atomic_path`, or while the program works.
    """
    paths, kept, inputs = [*map(_absolute, paths)], [*map(_absolute, kept)], [*inputs]
    claims = {folder: _Claim(folder, force) for folder in {path.parent for path in (*paths, *kept)}}
    for path in (*paths, *kept):
        _try_to_write(path.parent)
        for given in inputs:
            if path == _absolute(given) or (path.exists() and given.exists() and path.samefile(given)):
                raise UserError(f"{path} would be written over the input {given}; give another --out")
        claims[path.parent].require(path)
    for path in kept:
        claims[path.parent].note(path, None)
    _CLAIMS.update({path: claims[path.parent] for path in (*paths, *kept)})


def place(temporary: Path, path: Path) -> None:
    """Rename a finished file onto `path`. UserError if that is claimed and a file of another origin there."""
    claim, target = _claim_on(path), _absolute(path)
    if claim is not None:
        claim.require(target)
        whatever = claim.whole or None in claim.wrote.get(claim.name(target), ())
        claim.note(target, None if whatever else sha256_file(temporary))
        claim.placed.add(claim.name(target))
    temporary.replace(path)


def remove(path: Path) -> None:
    """Delete a file if it is there, but not one of another origin in a claimed place."""
    claim = _claim_on(path)
    if os.path.lexists(path) and (claim is None or claim.owns(_absolute(path))):
        path.unlink()


def remove_rest(out: Path) -> None:
    """Delete what earlier runs wrote into the claimed folder `out` and this one did not, as the figures of a
    method that is gone: nobody could tell them from those of today. Without a claim nothing is deleted."""
    claim = _CLAIMS.get(out.resolve())
    for name in claim.wrote.keys() - claim.placed if claim else ():
        remove(out / name)


def _absolute(path: Path) -> Path:
    """With the links in its folder followed; a link itself is what is replaced, not what it points to."""
    path = Path.cwd() / path
    return path.parent.resolve() / path.name


def _claim_on(path: Path) -> _Claim | None:
    target = _absolute(path)
    if any(part.startswith(PREFIX) for part in target.parts):
        return None  # scratch
    return next((_CLAIMS[p] for p in (target, *target.parents) if p in _CLAIMS), None)


def _need_folder(folder: Path) -> Path:
    """The nearest folder that exists. UserError if a file is in its place."""
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{folder} is a file where a folder is needed; move it or give another --out")
    return folder


def _try_to_write(folder: Path) -> None:
    nearest = _need_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"nothing can be written into {nearest} ({error.strerror}); give --out a place of your own"
        ) from None


def _unlisted(path: Path) -> bool:
    """Whether a file is one of the JSON files that versions without marks wrote beside an output."""
    try:
        found = json.loads(path.read_text("utf-8")) if path.suffix == ".json" else None
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and any(keys <= found.keys() for keys in UNLISTED)
