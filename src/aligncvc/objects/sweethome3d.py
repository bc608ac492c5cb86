"""Sweet Home 3D furniture libraries (Debian package `sweethome3d-furniture`): read, unpack, convert.

A `.sh3f` file is a zip of OBJ + MTL + textures and `PluginFurnitureCatalog.properties` (latin-1 with
`\\uXXXX` escapes; keys such as `name#12`). Libraries and licences: the package's copyright file.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from aligncvc.errors import UserError
from aligncvc.files import atomic_path
from aligncvc.objects.convert import MemoryResolver, obj_parts
from aligncvc.scene.glb import write_glb

PACKAGE = "sweethome3d-furniture"
PACKAGE_VERSION = "1.8-1"
PACKAGE_SHA256 = "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
CATALOGUE = "PluginFurnitureCatalog.properties"
LICENCES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
"""SPDX licence by library, from the catalogues' headers."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One object of a library. size_cm: catalogue width (x), height (y), depth (z)."""

    id: str
    library: str
    name: str
    category: str
    creator: str
    licence: str
    model: str
    size_cm: tuple[float, float, float]
    rotation: tuple[float, ...] | None

    @property
    def source(self) -> str:
        """`<library>/<path of the model in the library>`, the key by which lists refer to it."""
        return f"{self.library}/{self.model}"


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "object"


def parse_properties(text: str) -> dict[int, dict[str, str]]:
    """Numbered entries of a Java properties file: {number: {key: value}}."""
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\w+)#(\d+)\s*[=:]\s*(.*?)\s*$", line)
        if match:
            value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), match[3])
            entries.setdefault(int(match[2]), {})[match[1]] = value
    return entries


def _entries(text: str, library: str) -> list[CatalogueEntry]:
    licence = LICENCES.get(library, "unknown")
    seen: dict[str, int] = {}
    result = []
    for _, entry in sorted(parse_properties(text).items()):
        if "model" not in entry:
            continue
        name = entry.get("name", "object")
        base = f"{slug(library)}-{slug(name)}"
        seen[base] = seen.get(base, 0) + 1
        number = seen[base]
        rotation = entry.get("modelRotation")
        width, height, depth = (float(entry.get(key, "nan")) for key in ("width", "height", "depth"))
        result.append(
            CatalogueEntry(
                id=base if number == 1 else f"{base}-{number}",
                library=library,
                name=name,
                category=entry.get("category", ""),
                creator=entry.get("creator", "unknown"),
                licence=licence,
                model=entry["model"].lstrip("/"),
                size_cm=(width, height, depth),
                rotation=tuple(map(float, rotation.split())) if rotation else None,
            )
        )
    return result


class Library:
    """An opened `.sh3f` file. Usable as a context manager."""

    def __init__(self, path: Path):
        self.name = path.stem
        try:
            self.archive = zipfile.ZipFile(path)
            text = self.archive.read(CATALOGUE).decode("latin-1")
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{path} is not a Sweet Home 3D furniture library ({error})") from None
        self.entries = _entries(text, self.name)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def files(self, entry: CatalogueEntry) -> dict[str, bytes]:
        """Every file beside the entry's model, by its path in the library."""
        folder = str(PurePosixPath(entry.model).parent) + "/"
        names = [n for n in self.archive.namelist() if n.startswith(folder) and not n.endswith("/")]
        return {name: self.archive.read(name) for name in names}

    def convert(self, entry: CatalogueEntry, out: Path) -> None:
        """Write the entry as a GLB, y up, centred, longest side as in the catalogue (metres).

        Raises UserError if the model is missing or unreadable.
        """
        try:
            files = self.files(entry)
            data = self.archive.read(entry.model)
        except (KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{entry.source} cannot be read from its library ({error})") from None
        resolver = MemoryResolver(files, str(PurePosixPath(entry.model).parent))
        longest = max(entry.size_cm)
        size = longest / 100 if longest > 0 else None
        write_glb(out, obj_parts(data, resolver, rotation_matrix(entry), size))


def libraries(folder: Path) -> list[Path]:
    """The `.sh3f` files under a folder, sorted. UserError if there is none."""
    found = sorted(p for p in folder.rglob("*.sh3f") if not p.name.startswith("."))  # hidden: half written
    if not found:
        raise UserError(f"no .sh3f furniture library under {folder}; give the unpacked {PACKAGE} package")
    return found


def ar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Members (name, bytes) of a Unix `ar` archive, the container of a Debian package."""
    if not data.startswith(b"!<arch>\n"):
        raise UserError("the package is not a Debian package (no ar header)")
    offset = 8
    while offset + 60 <= len(data):
        header = data[offset : offset + 60]
        size = int(header[48:58])
        yield header[:16].decode("ascii").strip().rstrip("/"), data[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2


def unpack_deb(deb: Path, out: Path, sha256: str | None) -> list[Path]:
    """Extract the `.sh3f` files of a Debian package into `out` (no dpkg, no root); returns their paths.

    sha256: of the package; None accepts any. Raises UserError on a wrong hash or an unreadable package.
    """
    data = deb.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise UserError(
            f"{deb} has sha256 {found}, expected {sha256}; download {PACKAGE} {PACKAGE_VERSION} again"
        )
    for name, member in ar_members(data):
        if name.startswith("data.tar"):
            try:
                return _extract_libraries(member, out)
            except (tarfile.TarError, OSError, EOFError) as error:
                raise UserError(f"{deb} cannot be unpacked: {error}") from None
    raise UserError(f"{deb} has no data archive; it is not a complete Debian package")


def _extract_libraries(member: bytes, out: Path) -> list[Path]:
    paths = []
    with tarfile.open(fileobj=io.BytesIO(member)) as archive:
        for item in archive:
            if item.isfile() and item.name.endswith(".sh3f"):
                source = archive.extractfile(item)
                assert source is not None
                target = out / PurePosixPath(item.name).name
                with atomic_path(target) as temporary:
                    temporary.write_bytes(source.read())
                paths.append(target)
    return sorted(paths)


def rotation_matrix(entry: CatalogueEntry) -> NDArray[np.float64]:
    """(3,3) rotation that the catalogue asks for; the identity if it asks for none."""
    return np.eye(3) if entry.rotation is None else np.array(entry.rotation).reshape(3, 3)
