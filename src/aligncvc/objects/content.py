"""What a set reads besides its list, as hashes of names, sizes and dates: a change of it makes a job stale.

Read at every start of the workflow, so no mesh is opened and nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import content_facts, sha256_json, visible_files
from aligncvc.home import project_file
from aligncvc.objects.listing import ObjectRow, read_list, select
from aligncvc.scene.formats import FRAMES

ALONE = (".glb", ".stl")
"""Meshes that name no other file."""
NAMED = re.compile(r"^[ \t]*(?:map_|bump|disp|decal|refl)\S*[ \t]+(\S[^\r\n]*)", re.MULTILINE)
"""What a line of an MTL file names, options before it."""


def set_content(objects: ObjectSet) -> str:
    """Hash of the facts of all files that a whole set reads; empty if its list says all."""
    if objects.source == "bundled":
        with contextlib.suppress(UserError, OSError):  # said by the objects stage
            rows = [row for row in _listed(objects) if not row.sha256]
            return listed_content(objects, rows) if rows else ""
    if objects.path is None or "://" in objects.path:
        return ""
    path = project_file(objects.path)
    if objects.source == "gobjaverse":
        with contextlib.suppress(UserError, OSError):
            return listed_content(objects, _listed(objects))
    elif objects.source == "folder":
        outside = sorted(_named_outside(path))
        return content_facts(path) if not outside else sha256_json([content_facts(path), outside])
    elif path.is_file():
        return sha256_json(_facts(path))
    return content_facts(path)


def listed_content(objects: ObjectSet, rows: Iterable[ObjectRow]) -> str:
    """Hash of the facts of the files that some rows of a set's list read, in their order."""
    root = project_file(objects.path or "")
    return sha256_json([_row_facts(objects, root, row) for row in rows])


def shard_contents(objects: ObjectSet, size: int) -> list[str]:
    """`listed_content` of each shard of a set; empty unless the source is a folder of the user's meshes."""
    if objects.source != "folder" or objects.path is None:
        return []
    rows = _listed(objects)
    return [listed_content(objects, rows[start : start + size]) for start in range(0, len(rows), size)]


def _listed(objects: ObjectSet) -> list[ObjectRow]:
    listed = [] if objects.list is None else read_list(project_file(objects.list))
    return select(listed, objects.split, objects.limit)


def _row_facts(objects: ObjectSet, root: Path, row: ObjectRow) -> list[object]:
    path = root / (row.path or row.source)
    if objects.source == "gobjaverse":  # a frame's folder tells of its files, of which there are too many
        return [_facts(frame) for frame in sorted((path / FRAMES).glob("*"))]
    found: list[object] = [_facts(path)]
    if objects.source == "folder" and path.suffix.lower() not in ALONE:
        beside = [path.parent, path.parent.parent / "materials/textures"]
        found += [content_facts(folder) for folder in beside if folder.is_dir()]
    return found


def _named_outside(folder: Path) -> Iterator[list[object]]:
    """Facts of the pictures that MTL files below a folder name and that do not lie in it."""
    for path in (each for each in visible_files(folder) if each.suffix.lower() == ".mtl"):
        with contextlib.suppress(OSError, ValueError):
            for line in NAMED.findall(path.read_text("utf-8", "replace").replace("\\", "/")):
                for name in {line.strip(), line.split()[-1]}:
                    picture = path.parent / name
                    if picture.is_file() and not picture.resolve().is_relative_to(folder.resolve()):
                        yield _facts(picture)


def _facts(path: Path) -> list[object]:
    """Name, size and date; without the latter if nothing is there."""
    with contextlib.suppress(OSError):
        stat = path.stat()
        return [str(path), stat.st_size, stat.st_mtime_ns]
    return [str(path)]
