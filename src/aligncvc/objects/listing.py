"""Object lists (what there is to fetch) and manifests (what was fetched), both as TSV."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from aligncvc.errors import UserError
from aligncvc.tsv import read_tsv, write_tsv

Status = Literal["ok", "failed"]
EVAL_PERCENT = 10
SAFE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What objects may be called: ids become names of files."""


@dataclass(frozen=True)
class ObjectRow:
    """One line of an object list. path: the bundled or mirrored file, or empty; sha256: of the GLB, empty if
    unknown; source_sha256: of the published file that it was made of, empty if unknown.

    Of OBJ, PLY and STL files: up is the axis that points up, "y" (or empty) or "z"; front the azimuth of the
    side that is to face the input view, degrees counter-clockwise from above, 0 at z-up's -y or y-up's +z.
    """

    id: str
    name: str
    path: str
    source: str
    sha256: str
    licence: str
    creator: str
    split: str
    up: str = ""
    front: str = ""
    source_sha256: str = ""


@dataclass(frozen=True)
class ManifestRow:
    """One line of a manifest. path is relative to the manifest's folder; reason is empty when ok."""

    id: str
    path: str
    sha256: str
    licence: str
    creator: str
    source: str
    split: str
    status: Status
    reason: str

    @classmethod
    def of(cls, row: ObjectRow, path: str = "", sha256: str = "", reason: str = "") -> ManifestRow:
        """The manifest line of a listed object: ok with a path, failed without one."""
        status: Status = "ok" if path else "failed"
        text = " ".join(reason.split())
        return cls(row.id, path, sha256, row.licence, row.creator, row.source, row.split, status, text)


LIST_COLUMNS = tuple(f.name for f in fields(ObjectRow))
RARE_COLUMNS = ("up", "front", "source_sha256")
MANIFEST_COLUMNS = tuple(f.name for f in fields(ManifestRow))
REQUIRED = ("id", "source", "licence", "creator")


def read_list(path: Path, required: Iterable[str] = REQUIRED) -> list[ObjectRow]:
    """Rows of an object list; columns may be absent (name = id, split = train) unless they are required."""
    rows = []
    for row in read_tsv(path, required, "check `list` of the object set in the configuration"):
        known = {key: row.get(key, "") for key in LIST_COLUMNS}
        known["name"] = known["name"] or known["id"]
        known["split"] = known["split"] or "train"
        up, front, where = known["up"], known["front"], f"{path}: {known['id']}"
        if up not in ("", "y", "z"):
            raise UserError(f"{where} has up axis {up!r}; write y or z in the column `up`")
        if not re.fullmatch(r"(-?\d+(\.\d+)?)?", front):
            raise UserError(f"{where} has front {front!r}; write an azimuth in degrees")
        rows.append(ObjectRow(**known))
    check_ids((row.id for row in rows), path)
    return rows


def check_ids(ids: Iterable[str], where: object) -> None:
    """UserError on an id that occurs twice or is no safe file name."""
    seen: set[str] = set()
    for name in ids:
        if not re.fullmatch(SAFE_ID, name):
            raise UserError(f"{where}: the id {name!r} is no plain name (letters, digits, . _ -)")
        if name in seen:
            raise UserError(f"{where}: the id {name!r} occurs twice")
        seen.add(name)


def write_list(path: Path, rows: Iterable[ObjectRow], comment: str = "") -> None:
    """Write an object list atomically; each of RARE_COLUMNS only if a row has it."""
    table = [asdict(row) for row in rows]
    columns = [c for c in LIST_COLUMNS if c not in RARE_COLUMNS or any(row[c] for row in table)]
    write_tsv(path, columns, table, comment)


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest atomically."""
    write_tsv(path, MANIFEST_COLUMNS, map(asdict, rows))


def read_manifest(path: Path) -> list[ManifestRow]:
    """Rows of a manifest. UserError on a missing file or column, a double id or one that is no file name."""
    rows = read_tsv(path, MANIFEST_COLUMNS, "make it with python -m aligncvc.objects")
    check_ids((row["id"] for row in rows), path)
    return [ManifestRow(**{key: row[key] for key in MANIFEST_COLUMNS}) for row in rows]  # type: ignore[arg-type]


def credit_of(creator: str, licence: str) -> str:
    """What has to stand beside pictures of an object: "creator (licence)", or "" if nothing has to."""
    return f"{creator or 'unknown creator'} ({licence})" if licence.upper().startswith("CC-BY") else ""


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "object"


def base_name(name: str) -> str:
    """What two versions of one thing share: lower case, without numbers, brackets and plural."""
    words = re.findall(r"[a-z]+", re.sub(r"\(.*?\)", " ", name.lower()))
    return " ".join(word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in words)


def split_of(name: str, forced: Mapping[str, str]) -> str:
    """ "eval" for about one base name in ten, by its hash; `forced` (base name -> split) comes first."""
    base = base_name(name)
    if base in forced:
        return forced[base]
    digest = int.from_bytes(hashlib.sha256(base.encode()).digest()[:8], "big")
    return "eval" if digest % 100 < EVAL_PERCENT else "train"


def forced_splits(rows: Iterable[ObjectRow]) -> dict[str, str]:
    """Base name -> split of an existing list. UserError if one name stands on both sides."""
    forced: dict[str, str] = {}
    for row in rows:
        base = base_name(row.name)
        if forced.setdefault(base, row.split) != row.split:
            raise UserError(f"the object name {row.name!r} is in both the train and the eval split")
    return forced


def select(rows: Iterable[ObjectRow], split: str, limit: int | None) -> list[ObjectRow]:
    """The rows of one split ("all" keeps every row), at most `limit` of them."""
    return [row for row in rows if split in ("all", row.split)][:limit]
