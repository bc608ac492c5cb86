"""A folder of the user's own meshes as a source, and `python -m aligncvc.objects.folder`, which lists one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError, cli
from aligncvc.files import visible_files
from aligncvc.objects.listing import ObjectRow, select, slug, split_of, write_list
from aligncvc.objects.sources import Context, Job, convert_mesh, listed, root_of
from aligncvc.ownership import claim_files
from aligncvc.scene.formats import MESHES, OTHER_MODELS


def folder_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """The user's own meshes: those that `list` names, or all below `path` (licence "user", split by name)."""
    folder = root_of(objects, "a folder of meshes")
    if objects.list is not None:
        rows = listed(objects)
    else:
        rows = select(folder_rows(folder), objects.split, objects.limit)

    def make(row: ObjectRow, out: Path) -> None:
        row = row if row.up else replace(row, up=objects.up or "")
        convert_row(row, folder / (row.path or row.source), out)

    return [Job(row, partial(make, row)) for row in rows]


def convert_row(row: ObjectRow, mesh: Path, out: Path) -> None:
    """Write a listed mesh as a GLB, turned as the row's `up` and `front` say. UserError if unreadable."""
    convert_mesh(mesh, out, _turn(row) if row.up or row.front else None)


def folder_meshes(folder: Path) -> list[Path]:
    """The meshes below a folder, and the models in other formats that have no mesh of their name beside them.

    Hidden files are none. Raises UserError if there is no mesh that can be read.
    """
    files = visible_files(folder)
    meshes = [path for path in files if path.suffix.lower() in MESHES]
    if not meshes:
        raise UserError(f"no mesh ({', '.join(MESHES)}) under {folder}")
    known = {path.with_suffix("") for path in meshes}
    other = (path for path in files if path.suffix.lower() in OTHER_MODELS)
    return sorted([*meshes, *(path for path in other if path.with_suffix("") not in known)])


def folder_rows(folder: Path) -> list[ObjectRow]:
    """One row for each of `folder_meshes`, named after its path."""
    rows: dict[str, ObjectRow] = {}
    for path in folder_meshes(folder):
        relative = path.relative_to(folder).as_posix()
        name = base = slug(relative.removesuffix(path.suffix))
        number = 1
        while name in rows:
            number += 1
            name = f"{base}-{number}"
        split = split_of(path.stem, {})
        rows[name] = ObjectRow(name, path.stem, relative, relative, "", "user", "user", split)
    return list(rows.values())


def _turn(row: ObjectRow) -> NDArray[np.float64]:
    """(3, 3) from the frame of a listed OBJ, PLY or STL file to glTF's (y up, the front at +z)."""
    z_to_y = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    sine, cosine = (f(math.radians(float(row.front or 0))) for f in (math.sin, math.cos))
    about_z = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return z_to_y @ about_z @ (np.eye(3) if row.up == "z" else z_to_y.T)


def write_folder_list(
    folder: Path,
    /,
    out: Path,
    up: Literal["y", "z"] = "y",
    split: Literal["train", "eval"] = "eval",
    force: bool = False,
) -> None:
    """List a folder of meshes, for the `objects.list` of a protocol or an object set of source `folder`.

    Args:
        folder: GLB, glTF, OBJ, PLY and STL files, at any depth.
        out: TSV to write; licence and creator are "user" until you put them in.
        up: the axis that points up in OBJ, PLY and STL files; with y the front is at +z, with z at -y.
        split: side that all of them are on.
        force: replace a file of another origin.
    """
    if not folder.is_dir():
        raise UserError(f"no folder at {folder}; give one with meshes in it")
    rows = folder_rows(folder)
    for row in rows:
        if not row.path.isprintable():  # bytes that are no UTF-8, tabs: a list could not name the file
            raise UserError(f"{folder} holds a file {row.path!r}, which no list can name; rename it")
    claim_files([out], force=force)
    turned = ("obj", "ply", "stl")
    write_list(out, (replace(r, split=split, up=up if r.path.lower().endswith(turned) else "") for r in rows))
    print(f"{out}: {len(rows)} objects")


def main() -> None:
    tyro.cli(write_folder_list)


if __name__ == "__main__":
    cli(main)
