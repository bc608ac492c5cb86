"""Sweet Home 3D furniture libraries (Debian package `sweethome3d-furniture`): fetch, read, convert.

A `.sh3f` file is a zip of OBJ + MTL + textures and `PluginFurnitureCatalog.properties` (latin-1 with
`\\uXXXX` escapes; keys such as `name#12`). Libraries and licences: the package's copyright file.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError
from aligncvc.files import atomic_path, locked, sha256_file
from aligncvc.home import project_file
from aligncvc.limits import read_members
from aligncvc.objects.convert import MemoryResolver, obj_parts
from aligncvc.objects.download import cached, download
from aligncvc.objects.listing import ObjectRow, slug
from aligncvc.objects.sources import Context, Job, listed
from aligncvc.scene.glb import write_glb

PACKAGE = "sweethome3d-furniture"
PACKAGE_VERSION = "1.8-1"
PACKAGE_SHA256 = "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
APT_SECONDS = 600
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
    """One object of a library: its row of a list, but for hash and split, and what the catalogue adds.

    size_cm: width (x), height (y), depth (z). The row's source is <library>/<path of the model in it>.
    """

    row: ObjectRow
    library: str
    category: str
    model: str
    size_cm: tuple[float, float, float]
    rotation: tuple[float, ...] | None


def parse_properties(text: str) -> dict[int, dict[str, str]]:
    """Numbered entries of a Java properties file: {number: {key: value}}."""
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(\w+)#(\d+)\s*[=:]\s*(.*?)\s*$", line)
        if match:
            value = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), match[3])
            entries.setdefault(int(match[2]), {})[match[1]] = value
    return entries


def _entries(text: str, library: str) -> Iterator[CatalogueEntry]:
    seen: dict[str, int] = {}
    for _, entry in sorted(parse_properties(text).items()):
        if "model" not in entry:
            continue
        name = entry.get("name", "object")
        base = f"{slug(library)}-{slug(name)}"
        number = seen[base] = seen.get(base, 0) + 1
        model, own_id = entry["model"].lstrip("/"), base if number == 1 else f"{base}-{number}"
        origin = LICENCES.get(library, "unknown"), entry.get("creator", "unknown")
        row = ObjectRow(own_id, name, "", f"{library}/{model}", "", *origin, split="")
        width, height, depth = (float(entry.get(key, "nan")) for key in ("width", "height", "depth"))
        rotation = tuple(map(float, entry.get("modelRotation", "").split())) or None
        category = entry.get("category", "")
        yield CatalogueEntry(row, library, category, model, (width, height, depth), rotation)


class Library:
    """An opened `.sh3f` file."""

    def __init__(self, path: Path):
        try:
            self.archive = zipfile.ZipFile(path)
            text = read_members(self.archive, [CATALOGUE])[CATALOGUE].decode("latin-1")
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{path} is not a Sweet Home 3D furniture library ({error})") from None
        self.entries = list(_entries(text, path.stem))

    def convert(self, entry: CatalogueEntry, out: Path) -> None:
        """Write the entry as a GLB, y up, centred, longest side as in the catalogue (metres)."""
        folder = str(PurePosixPath(entry.model).parent)
        try:
            beside = [n for n in self.archive.namelist() if n.startswith(f"{folder}/") and n[-1] != "/"]
            files = read_members(self.archive, [entry.model, *beside])
        except (KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{entry.row.source} cannot be read from its library ({error})") from None
        longest = max(entry.size_cm)
        turn = None if entry.rotation is None else np.array(entry.rotation).reshape(3, 3)
        size = longest / 100 if longest > 0 else None
        write_glb(out, obj_parts(files[entry.model], MemoryResolver(files, folder), turn, size))


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


def unpack_deb(deb: Path, out: Path) -> None:
    """Extract the `.sh3f` files of the Debian package into `out` (no dpkg, no root)."""
    found = sha256_file(deb)
    if found != PACKAGE_SHA256:
        advice = f"download {PACKAGE} {PACKAGE_VERSION} again"
        raise UserError(f"{deb} has sha256 {found}, expected {PACKAGE_SHA256}; {advice}")
    member = next((data for name, data in ar_members(deb.read_bytes()) if name.startswith("data.tar")), None)
    if member is None:
        raise UserError(f"{deb} has no data archive; it is not a complete Debian package")
    try:
        with tarfile.open(fileobj=io.BytesIO(member)) as archive:
            for item in archive:
                if item.isfile() and item.name.endswith(".sh3f"):
                    with atomic_path(out / PurePosixPath(item.name).name) as temporary:
                        temporary.write_bytes(archive.extractfile(item).read())  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{deb} cannot be unpacked: {error}") from None


def apt_download(cache: Path) -> Path:
    """The furniture package through `apt-get download` (no root needed): path of the verified .deb."""
    deb = cache / f"{PACKAGE}_{PACKAGE_VERSION}_all.deb"
    if cached(deb, PACKAGE_SHA256):
        return deb
    advice = "set `path` of the object set to the .deb, its URL, or a folder with its .sh3f files"
    apt = shutil.which("apt-get")
    if apt is None:
        raise UserError(f"{PACKAGE} cannot be fetched here, there is no apt-get; {advice}")
    command = [apt, "download", f"{PACKAGE}={PACKAGE_VERSION}"]
    try:
        result = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=APT_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"apt-get took more than {APT_SECONDS} s to download {PACKAGE}; {advice}") from None
    if result.returncode or not deb.is_file():
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        raise UserError(f"apt-get could not download {PACKAGE} {PACKAGE_VERSION} ({lines[-1]}); {advice}")
    return deb


def furniture_folder(path: str | None, context: Context) -> Path:
    """A folder of .sh3f files: the user's, or unpacked (sha256 checked) from a .deb, a URL or apt."""
    with locked(context.cache):  # the jobs of several sets fetch the same package
        if path is None:
            deb = apt_download(context.cache)
        elif "://" in path:
            deb = context.cache / f"{PACKAGE}_{PACKAGE_VERSION}_all.deb"
            if not cached(deb, PACKAGE_SHA256):
                download(path, deb, sha256=PACKAGE_SHA256, policy=context.policy)
        else:
            deb = project_file(path)
            if deb.is_dir():
                return deb
            if not deb.is_file():
                raise UserError(
                    f"no furniture package at {deb}; give a .deb, its URL or a folder of .sh3f files"
                )
        folder = context.cache / f"{PACKAGE}-{PACKAGE_VERSION}"
        unpack_deb(deb, folder)
        return folder


def sweethome3d_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Objects of the furniture package, by the list's `source` (<library>/<model path>)."""
    rows = listed(objects)
    known: dict[str, tuple[Library, CatalogueEntry]] = {}
    for library in map(Library, libraries(furniture_folder(objects.path, context))):
        for entry in library.entries:
            # where several entries share a model, the one with the row's id is meant, else the first
            known.setdefault(entry.row.source, (library, entry))
            known[f"{entry.row.source}#{entry.row.id}"] = library, entry

    def make(row: ObjectRow, out: Path) -> None:
        found = known.get(f"{row.source}#{row.id}", known.get(row.source))
        if found is None:
            raise UserError(f"{row.source} is in none of the furniture libraries")
        library, entry = found
        library.convert(entry, out)

    return [Job(row, partial(make, row)) for row in rows]
