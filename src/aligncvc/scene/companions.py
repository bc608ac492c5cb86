"""The files that a mesh file names: materials and textures. What is lost of them is kept, to be said."""

from __future__ import annotations

import codecs
import contextlib
import logging
import posixpath
import re
from functools import cached_property
from io import UnsupportedOperation
from pathlib import Path, PurePosixPath
from typing import Any

from trimesh.resolvers import Resolver

from aligncvc.errors import UserError
from aligncvc.limits import read_file
from aligncvc.scene.pictures import picture_fault

_VALUE = r"[ \t]+(?:[-+]?\.?\d[\d.eE+-]*|on|off|[rgbmlz])"
MAP_OPTIONS = re.compile(
    rf"^([ \t]*map_Kd[ \t]+)((?:-[a-z]+(?:{_VALUE})*[ \t]+)+)(\S[^\n]*)", re.IGNORECASE | re.MULTILINE
)
"""A texture's line of an MTL file with options before the name."""
SPACE_BETWEEN = re.compile(r"(?<=\.mtl)\s+", re.IGNORECASE)
"""Between the names of MTL files, which may have spaces."""


class FolderResolver(Resolver):
    """Finds what a model names where it lies, and keeps what it did not find or cannot use in `faults`.

    Names are taken as they stand, then as names of a file in the model's folder or in Gazebo's
    materials/textures (Google Scanned Objects); upper and lower case are alike.
    """

    def __init__(self, model: Path, data: bytes) -> None:
        """data: the model's bytes."""
        self.folder, self.faults = model.parent, list[str]()
        self.text = text_of(data) if model.suffix.lower() == ".obj" else ""
        self.asked_for_materials = not self.text
        logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it warns with tracebacks of what fails here

    def get(self, key: str) -> bytes:
        """Bytes of `key`; first, for an OBJ file, of all its MTL files without options of textures.

        What fails is kept: trimesh goes on without.
        """
        if not self.asked_for_materials:  # by the first MTL file's name
            self.asked_for_materials = True
            return self.materials.encode()
        data = self._found(key)
        if fault := picture_fault(data):
            self.faults.append(f"{key.strip()} is broken: {fault}")
            raise ValueError(fault)
        return data

    @cached_property
    def materials(self) -> str:
        """The text of all MTL files that are there."""
        lines, texts = re.findall(r"^[ \t]*mtllib[ \t]+(.+)$", self.text, re.MULTILINE), []
        for name in (name for line in lines for name in SPACE_BETWEEN.split(line.strip())):
            with contextlib.suppress(FileNotFoundError):
                texts.append(MAP_OPTIONS.sub(self._without_options, text_of(self._found(name))))
        return "\n".join(texts)

    def _found(self, key: str) -> bytes:
        name = key.strip().strip('"').replace("\\", "/")
        base, gazebo = posixpath.basename(name), self.folder.parent / "materials/textures"
        places = ((self.folder, name), (self.folder, base), (gazebo, base))
        path = next((found for place in places if (found := _any_case(*place))), None)
        if path is None:
            self.faults.append(f"{key.strip()} is missing")
            raise FileNotFoundError(key)
        return read_file(path)

    def _without_options(self, line: re.Match[str]) -> str:
        for option, values in re.findall(r"-([ost])((?:\s+[-+]?\.?\d\S*)+)", line[2]):
            plain = 1.0 if option == "s" else 0.0
            if any(float(value) != plain for value in values.split()):
                self.faults.append(f"{line[3].strip()} is scaled or moved (-{option}), which is not read")
        return f"{line[1]}{line[3]}"

    def require_all(self) -> None:
        """UserError if what the model names was not found or is of no use."""
        if self.materials:
            unknown = _named(self.text, "usemtl") - _named(self.materials, "newmtl") - {"None", "(null)"}
            self.faults += [f"the material {name} is in no MTL file" for name in sorted(unknown)]
        if self.faults:
            raise UserError(
                f"its look is incomplete: {'; '.join(dict.fromkeys(self.faults))}; put that right beside the "
                "model, or remove it from the model's files"
            )

    def keys(self) -> list[str]:
        """Nothing: what is there is asked for by name."""
        return []

    def namespaced(self, namespace: str) -> FolderResolver:
        return self

    def write(self, name: str, data: Any) -> None:
        raise UnsupportedOperation("the folder of a model is only read")


def text_of(data: bytes) -> str:
    """The text of an OBJ or MTL file: UTF-8, UTF-16 as Windows' editors save it, or else Latin-1."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace")
    if 0 in data[:2]:  # without its mark: the first letter is of ASCII
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def readable(data: bytes, kind: str) -> bytes:
    """An OBJ file in UTF-8; a PLY file whose colours have the names that trimesh knows."""
    if kind == "obj":
        return text_of(data).encode()
    if kind == "ply":
        head, end, body = data.partition(b"end_header")
        return re.sub(rb" diffuse_(red|green|blue|alpha)\b", rb" \1", head) + end + body
    return data


def _named(text: str, statement: str) -> set[str]:
    """The names that an OBJ or MTL file's statements of one kind give."""
    found = re.findall(rf"^\s*{statement}\s+(.+)$", text, re.MULTILINE)
    return {" ".join(name.split()) for name in found}


def _any_case(folder: Path, name: str) -> Path | None:
    """The file of that name, whatever its case, or None."""
    path = folder
    for part in PurePosixPath(name).parts:
        exact = path / part
        if not exact.exists() and path.is_dir():
            exact = next((each for each in path.iterdir() if each.name.lower() == part.lower()), exact)
        path = exact
    return path if path.is_file() else None
