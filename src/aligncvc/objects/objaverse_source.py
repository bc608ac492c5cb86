"""Objaverse 1.0 through the `objaverse` package, made dependable.

The package (0.1.7) downloads without timeout, retry, resume or check, keeps truncated files, skips unknown
uids with a warning and writes below HOME. Here it still decides what lies where, but its transfers go
through `download` and its cache lies where we want it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import locked, read_text, sha256_file, write_text
from aligncvc.limits import gunzip
from aligncvc.objects.convert import check_glb
from aligncvc.objects.download import download
from aligncvc.objects.listing import ObjectRow, read_list
from aligncvc.objects.sources import Context, Job, copy_file, listed

LICENCES = {kind: f"CC-{kind.upper()}-4.0" for kind in ("by", "by-sa", "by-nc", "by-nc-sa")}
LICENCES["cc0"] = "CC0-1.0"
"""SPDX names of the licences in Objaverse's annotations."""


@contextlib.contextmanager
def dependable(context: Context, mirror: str | None = None) -> Iterator[ModuleType]:
    """The module with our cache and our transfers, as it was afterwards; UserError if it is not installed.

    mirror: an address that replaces everything of the package's URLs before the path in the data set
    (`object-paths.json.gz`, `metadata/...`, `glbs/...`).
    """
    try:
        package: Any = importlib.import_module("objaverse")
    except ImportError:
        advice = "run `pip install objaverse==0.1.7`"
        raise UserError(f"the package objaverse is not installed; {advice}") from None
    shared = context.cache / "objaverse"
    root = shared if context.downloads is None else context.downloads / "objaverse"

    def retrieve(url: str, target: str) -> None:
        if mirror is not None:
            url = mirror.rstrip("/") + "/" + url.split("/resolve/main/", 1)[-1]
        path = Path(target)
        if not url.endswith(".gz"):
            download(url, path, policy=context.policy)
            return
        kept = shared / path.relative_to(root)
        with locked(shared):  # the jobs of several shards want the same index
            if not kept.is_file():
                download(url, kept, policy=context.policy)
                try:
                    json.loads(gunzip(kept.read_bytes()))
                except (OSError, EOFError, ValueError, zlib.error) as error:
                    kept.unlink()  # so that a broken index is not kept for ever
                    raise UserError(f"{path.name} is broken ({error}); try again later") from None
        if kept != path:
            copy_file(kept, path)

    def object_paths() -> dict[str, str]:
        index = root / "hf-objaverse-v1/object-paths.json.gz"
        if not index.is_file():
            read_paths()  # fetches it
        return _paths(read_paths, index, index.stat().st_mtime_ns)

    read_paths = package._load_object_paths
    before = package.BASE_PATH, package._VERSIONED_PATH, package.urllib
    package._load_object_paths = object_paths
    package.BASE_PATH = str(root)
    package._VERSIONED_PATH = str(root / "hf-objaverse-v1")
    package.urllib = SimpleNamespace(request=SimpleNamespace(urlretrieve=retrieve))
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield package
    finally:
        package.BASE_PATH, package._VERSIONED_PATH, package.urllib = before
        package._load_object_paths = read_paths


@lru_cache(1)
def _paths(read: Callable[[], dict[str, str]], index: Path, written: int) -> dict[str, str]:
    """Where each uid's file is, read once: the package would read all of 800,000 for every object."""
    return read()


def _verify(path: Path, note: Path, expected: str) -> None:
    """UserError if a cached GLB is broken, is not what `note` first said or not what the list expects."""
    check_glb(path)
    found = sha256_file(path)
    if not (expected or note.is_file()):
        write_text(note, found + "\n")
    wanted = expected or note.read_text(encoding="utf-8").strip()
    if found != wanted:
        raise UserError(f"sha256 {found} differs from the expected {wanted}")


def fetch_object(uid: str, expected: str, context: Context, mirror: str | None, out: Path) -> None:
    """Write one object's GLB to `out`; a broken cached file is fetched once more. expected: sha256 or ""."""
    for attempt in ("cached", "fresh"):
        with dependable(context, mirror) as package:
            found = package.load_objects([uid])
        if uid not in found:
            raise UserError(f"Objaverse has no object with the uid {uid}")
        path = Path(found[uid])
        note = path.with_name(path.name + ".sha256")
        try:
            _verify(path, note, expected)
            break
        except UserError as error:
            path.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
            if attempt == "fresh":
                raise UserError(f"Objaverse object {uid}: {error}") from None
    copy_file(path, out)


def annotated(row: ObjectRow, context: Context, mirror: str | None) -> ObjectRow:
    """The row with licence and creator from Objaverse's annotations where the list leaves them empty."""
    if row.licence and row.creator:
        return row
    with dependable(context, mirror) as package:
        try:
            facts = package.load_annotations([row.source])[row.source]
        except (KeyError, OSError, EOFError, json.JSONDecodeError) as error:
            kind = type(error).__name__
            raise UserError(f"Objaverse has no annotations for {row.source} ({kind})") from None
    licence = LICENCES.get(str(facts.get("license")), str(facts.get("license") or "unknown"))
    user = facts.get("user") or {}
    creator = str(user.get("displayName") or user.get("username") or "unknown")
    return replace(row, licence=row.licence or licence, creator=row.creator or creator)


def uid_rows(path: Path) -> list[ObjectRow]:
    """Rows of a uid list: our TSV, a JSON array of uids, or plain text with one uid a line."""
    if not path.is_file():
        raise UserError(f"no uid list at {path}; check `list` of the object set")
    try:
        text = read_text(path).strip()
    except ValueError as error:
        raise UserError(f"no uid list can be read from {path}: {error}") from None
    first = next((line for line in text.splitlines() if not line.startswith("#")), "")
    if "\t" in first:
        return [replace(row, source=row.source or row.id) for row in read_list(path, ("id",))]
    try:
        uids = json.loads(text) if text.startswith("[") else text.split()
    except ValueError as error:
        raise UserError(f"{path} is not a JSON array of uids: {error}") from None
    uids = list(dict.fromkeys(str(uid).removesuffix(".glb") for uid in uids))
    if not uids or any(not uid.isalnum() for uid in uids):
        raise UserError(f"{path} is no list of Objaverse uids (one a line, a JSON array or our TSV)")
    return [ObjectRow(uid, uid, "", uid, "", "", "", "train") for uid in uids]


def objaverse_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Objects by uid (the list's `source`); `path` of the set may name a mirror."""
    given = context, objects.path
    return [
        Job(row, partial(fetch_object, row.source, row.sha256, *given), partial(annotated, row, *given))
        for row in listed(objects, uid_rows, "uids")
    ]
