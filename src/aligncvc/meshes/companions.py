"""The files that a mesh file names: materials and textures. What is lost of them is kept, to be said."""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from trimesh.resolvers import Resolver

from aligncvc.errors import UserError
from aligncvc.scene.pictures import picture_fault

_VALUE = r"[ \t]+(?:[-+]?\.?\d[\d.eE+-]*|on|off|[rgbmlz])"
MAP_OPTIONS = re.compile(
    rf"^([ \t]*map_Kd[ \t]+)((?:-[a-z]+(?:{_VALUE})*[ \t]+)+)(\S[^\n]*)", re.IGNORECASE | re.MULTILINE
)
"""A texture's line of an MTL file with options before the name."""


class FolderResolver(Resolver):
    """Finds what a model names where it lies, and keeps what it did not find or cannot use in `faults`.

    Names are taken as they stand, then as names of a file in the model's folder or in Gazebo's
    materials/textures (Google Scanned Objects); upper and lower case are alike.
    """

    def __init__(self, model: Path) -> None:
        self.folder = model.parent
        self.faults: list[str] = []
        self.materials: set[str] | None = None
        logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it warns with tracebacks of what fails here

    def get(self, key: str) -> bytes:
        """Bytes of `key`, of an MTL without options of textures. What fails is kept: trimesh goes on."""
        try:
            return self._found(key.strip().strip('"').replace("\\", "/"))
        except Exception as error:
            self.faults.append(f"{key.strip()} {error}")
            raise

    def _found(self, name: str) -> bytes:
        base, gazebo = posixpath.basename(name), self.folder.parent / "materials/textures"
        places = ((self.folder, name), (self.folder, base), (gazebo, base))
        path = next((found for place in places if (found := _any_case(*place))), None)
        if path is None:
            raise FileNotFoundError("is missing")
        data = path.read_bytes()
        if path.suffix.lower() == ".mtl":
            text = text_of(data)
            self.materials = named(text, "newmtl")
            return MAP_OPTIONS.sub(self._without_options, text).encode()
        if fault := picture_fault(data):
            raise ValueError(f"is broken: {fault}")
        return data

    def _without_options(self, line: re.Match[str]) -> str:
        for option, values in re.findall(r"-([ost])((?:\s+[-+]?\.?\d\S*)+)", line[2]):
            plain = 1.0 if option == "s" else 0.0
            if any(float(value) != plain for value in values.split()):
                raise ValueError(f"scales or moves {line[3].strip()} (-{option}), which is not read")
        return f"{line[1]}{line[3]}"

    def require_all(self, model: bytes) -> None:
        """UserError if what the model (its bytes) names was not found or is of no use."""
        used = set() if self.materials is None else named(text_of(model), "usemtl") - {"None", "(null)"}
        unknown = used - (self.materials or set())
        self.faults += [f"the material {name} is in no MTL file that is read" for name in sorted(unknown)]
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
        raise NotImplementedError


def text_of(data: bytes) -> str:
    """The text of an OBJ or MTL file: UTF-8, or else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def named(text: str, statement: str) -> set[str]:
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
