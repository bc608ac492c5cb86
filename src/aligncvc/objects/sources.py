"""What every source gives: jobs (a row, how to make its GLB). The bundled objects, and meshes as GLBs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.home import project_file
from aligncvc.limits import READ_SECONDS, read_file, within
from aligncvc.objects.convert import obj_parts
from aligncvc.objects.download import Policy
from aligncvc.objects.listing import ObjectRow, read_list, select
from aligncvc.scene.companions import FolderResolver
from aligncvc.scene.formats import MESHES
from aligncvc.scene.glb import write_glb
from aligncvc.scene.gltf import Gltf

OWN_TEXTURE_PX = 4096
"""Textures of users' own OBJ files stay as they are up to this side."""


@dataclass(frozen=True)
class Job:
    """One object to fetch. make(path) writes its GLB or raises UserError.

    row: its sha256 may be empty (unknown); describe: completes the row after the object is there. suffix: of
    the file, if it is no GLB (an index of frames); a list's sha256 is then make's to check.
    """

    row: ObjectRow
    make: Callable[[Path], None]
    describe: Callable[[], ObjectRow] | None = None
    suffix: str = ".glb"

    @property
    def file(self) -> str:
        return f"{self.row.id}{self.suffix}"


@dataclass(frozen=True)
class Context:
    """What every source is given. cache: a folder for downloads that survive the run.

    downloads: where the objects' own files go instead, if they are not to outlive their shard.
    """

    cache: Path
    policy: Policy
    downloads: Path | None = None


def listed(
    objects: ObjectSet, read: Callable[[Path], list[ObjectRow]] = read_list, what: str = "objects"
) -> list[ObjectRow]:
    """The selected rows of the set's list, found relative to the project's root unless absolute."""
    if objects.list is None:
        raise UserError(f"an object set of source {objects.source!r} needs a `list` of {what}")
    return select(read(project_file(objects.list)), objects.split, objects.limit)


def root_of(objects: ObjectSet, what: str) -> Path:
    """The folder that the set's `path` names. Raises UserError if there is none."""
    if objects.path is None:
        raise UserError(f"an object set of source {objects.source!r} needs a `path` to {what}")
    root = project_file(objects.path)
    if not root.is_dir():
        raise UserError(f"no folder at {root}, which should be {what}; check `path` of the object set")
    return root


def copy_file(source: Path, target: Path) -> None:
    """Copy atomically. UserError if the source is missing."""
    if not source.is_file():
        raise UserError(f"the file {source} is missing")
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def bundled_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Objects that ship with the repository; the list's `path` is relative to its root."""
    return [Job(row, partial(copy_file, project_file(row.path))) for row in listed(objects)]


def convert_mesh(path: Path, out: Path, turn: NDArray[np.float64] | None = None) -> None:
    """Copy a GLB or convert glTF, or OBJ, PLY or STL by `turn` (3, 3), to one. UserError if unreadable."""
    suffix = path.suffix.lower()
    if suffix not in MESHES:
        raise UserError(
            f"{path.name} is of a format that is not read here; convert it to GLB, for instance with "
            "Blender, or take it out"
        )
    if suffix in (".glb", ".gltf"):
        _pack(path, out)
    else:
        if not path.is_file():
            raise UserError(f"the file {path} is missing")
        data = read_file(path)
        resolver = FolderResolver(path, data)
        with within(READ_SECONDS, path.name):
            parts = obj_parts(data, resolver, turn, texture_px=OWN_TEXTURE_PX, kind=suffix[1:])
        resolver.require_all()
        write_glb(out, parts)


def _pack(path: Path, out: Path) -> None:
    """A glTF file as one GLB, a GLB that is one already byte for byte."""
    if not path.is_file():
        raise UserError(f"the file {path} is missing")
    gltf = Gltf.read(path)
    if path.suffix.lower() == ".glb" and not gltf.took_in:
        copy_file(path, out)
    else:
        with atomic_path(out) as temporary:
            temporary.write_bytes(gltf.to_bytes())
