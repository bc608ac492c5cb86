"""A long object list cut into shards: read line by line, never whole, by the plan and by each shard's job.

A shard has the next `size` lines that the set selects. So a list grows at its end: a line put in or taken out
before moves the lines of all shards after it, which are then made again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import islice

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import text_lines
from aligncvc.home import project_file
from aligncvc.objects.listing import SAFE_ID


def shard_hashes(objects: ObjectSet, size: int) -> list[str]:
    """A hash of each shard's lines, in order. Raises UserError for a list that cannot be cut.

    Every id is checked here, against all others too: a shard's job sees its own only.
    """
    hashes: list[str] = []
    seen: set[str] = set()
    safe = re.compile(SAFE_ID).fullmatch
    for header, names, lines in _shards(objects, size):
        for name in names:
            if name in seen or not safe(name):
                what = "occurs twice" if name in seen else "is no plain name (letters, digits, . _ -)"
                raise UserError(f"{objects.list}: the id {name!r} {what}")
            seen.add(name)
        hashes.append(_hash(header, lines))
    if not hashes:
        raise UserError(f"the object set is empty: {objects.list} has nothing for {objects.split!r}")
    return hashes


def shard_list(objects: ObjectSet, size: int, number: int) -> tuple[str, str]:
    """(text of the list, hash) of shard `number`. Raises UserError if there are fewer shards."""
    for header, _, lines in islice(_shards(objects, size), number, None):
        return header + "".join(lines), _hash(header, lines)
    raise UserError(f"{objects.list} has no shard {number} of {size} objects; they count from 0")


def _hash(header: str, lines: list[str]) -> str:
    return hashlib.sha256((header + "".join(lines)).encode()).hexdigest()[:16]


def _shards(objects: ObjectSet, size: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """(header, ids, lines) of each shard; a plain list of uids has no header."""
    selected = islice(_selected(objects), None if objects.limit is None else objects.limit + 1)
    _, header = next(selected)
    while chunk := list(islice(selected, size)):
        names, lines = map(list, zip(*chunk, strict=True))
        yield header, names, lines


def _selected(objects: ObjectSet) -> Iterator[tuple[str, str]]:
    """(id, line) of the header, which is empty for a plain list, then of each line of the set's split.

    Comments and blank lines are left out. Raises UserError if the list cannot be read.
    """
    path, wanted = project_file(str(objects.list)), {"all": None, "train": ("train", "")}
    splits = wanted.get(objects.split, (objects.split,))
    columns: list[str] = []
    name, split = 0, -1
    try:
        for line in text_lines(path):
            if line.startswith("#") or line.isspace():
                continue
            cells = line.rstrip("\r\n").split("\t")
            if not columns:
                if line.startswith("["):
                    raise UserError(f"{path} is a JSON array, which cannot be cut; write one uid a line")
                plain = len(cells) == 1
                columns = ["id"] if plain else cells
                if "id" not in columns:
                    raise UserError(f"{path} lacks the column id; check `list` of the object set")
                name, split = columns.index("id"), columns.index("split") if "split" in columns else -1
                yield "", "" if plain else line
                if not plain:
                    continue
            of = cells[split].strip() if 0 <= split < len(cells) else ""
            if splits is None or of in splits:
                yield cells[name] if name < len(cells) else "", line if line[-1] == "\n" else line + "\n"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"no list can be read from {path} ({why}); check `list` of the object set") from None
    if not columns:
        raise UserError(f"{path} lists nothing; check `list` of the object set")
