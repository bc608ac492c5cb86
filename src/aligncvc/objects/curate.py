"""Choose the useful objects of the furniture package and write `config/objects/furniture.tsv`.

Left out: people, doors, windows, stairs, plugs, switches, road marks, whole rooms, and shapes that are flat,
thin or tiny: from most azimuths of a ring of cameras there is nothing to see of them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.errors import cli, reason_of
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.objects.download import Policy
from aligncvc.objects.glb import check_glb
from aligncvc.objects.listing import ObjectRow, forced_splits, read_list, split_of, write_list
from aligncvc.objects.sources import Context, furniture_folder
from aligncvc.objects.sweethome3d import CatalogueEntry, Library, libraries
from aligncvc.ownership import claim_files, claim_folder

EXCLUDED_LIBRARIES = {"Reallusion"}
EXCLUDED_CATEGORIES = {"Doors and windows", "Staircases"}
EXCLUDED_WORDS = (
    "plug", "switch", "socket", "door", "window", "curtain", "blind", "rug", "carpet", "male", "female",
    "stair", "escalator", "parking", "crossing", "arrow", "rails", "sidewalk", "tatami", "bathmat", "doormat",
    "bill", "swimming pool", "contemporary living room", "fence",
)  # fmt: skip
KEPT_NAMES = {"glass door cabinet"}
MIN_LONGEST_CM = 4.0
MIN_FLATNESS = 0.06
"""Shortest over longest side of the catalogue's bounding box."""
MIN_THICKNESS = 0.13
"""Middle over longest side."""
MAX_GLB_BYTES = 12_000_000
COMMENT = """Objects of Debian's sweethome3d-furniture 1.8-1 that are useful for rendering.
Written by `python -m aligncvc.objects.curate`; sha256 is that of the converted GLB.
source: <library>/<path of the model in it>. Creators must be named beside renders of CC-BY objects."""


def rejected(entry: CatalogueEntry) -> str | None:
    """Why an object is left out, or None to keep it."""
    if entry.library in EXCLUDED_LIBRARIES:
        return "library"
    if entry.category in EXCLUDED_CATEGORIES:
        return "category"
    name = entry.name.lower()
    words = set(name.replace("-", " ").split())
    hit = any(word in name if " " in word else {word, word + "s"} & words for word in EXCLUDED_WORDS)
    if hit and name not in KEPT_NAMES:
        return "name"
    short, middle, longest = sorted(entry.size_cm)
    if not longest >= MIN_LONGEST_CM:
        return "tiny"
    if short / longest < MIN_FLATNESS:
        return "flat"
    if middle / longest < MIN_THICKNESS:
        return "thin"
    return None


def to_row(entry: CatalogueEntry, sha256: str, forced: dict[str, str]) -> ObjectRow:
    """The list's row of a catalogue entry."""
    return ObjectRow(
        id=entry.id,
        name=entry.name,
        path="",
        source=entry.source,
        sha256=sha256,
        licence=entry.licence,
        creator=entry.creator,
        split=split_of(entry.name, forced),
    )


def curate(furniture: Path, forced: dict[str, str], scratch: Path) -> tuple[list[ObjectRow], Counter[str]]:
    """Convert every kept object of the unpacked package into `scratch`: (rows, counts of the reasons)."""
    rows: list[ObjectRow] = []
    reasons: Counter[str] = Counter()
    seen: set[str] = set()
    for path in libraries(furniture):
        with Library(path) as library:
            for entry in library.entries:
                reason = rejected(entry)
                if reason is None:
                    glb = scratch / f"{entry.id}.glb"
                    try:
                        library.convert(entry, glb)
                        check_glb(glb)
                        sha256 = sha256_file(glb)
                        if glb.stat().st_size > MAX_GLB_BYTES:
                            reason = "too large"
                        elif sha256 in seen:
                            reason = "same as another"
                    except Exception as error:
                        print(f"{entry.id}: {reason_of(error)}")
                        reason = "unreadable"
                if reason is None:
                    seen.add(sha256)
                    rows.append(to_row(entry, sha256, forced))
                reasons[reason or "kept"] += 1
    return rows, reasons


@dataclass
class Arguments:
    """Write the list of useful objects of the furniture package."""

    package: str | None = None
    """The package: a .deb, its URL, or a folder with its .sh3f files (default: from apt)."""
    out: Path = PROJECT_ROOT / "config/objects/furniture.tsv"
    """The list to write."""
    bundled: Path | None = PROJECT_ROOT / "config/objects/bundled.tsv"
    """A list whose splits are binding for objects of the same name; none if the file is absent."""
    scratch: Path | None = None
    """Keep the converted GLBs here (default: a temporary folder)."""
    force: bool = False
    """Replace files of another origin in `out` and `scratch`."""


def main() -> None:
    arguments = tyro.cli(Arguments)
    if arguments.out != Arguments.out:  # the default is under version control, and made anew at will
        claim_files([arguments.out], force=arguments.force)
    if arguments.scratch is not None:
        claim_folder(arguments.scratch, force=arguments.force)
    forced = {}
    if arguments.bundled is not None and arguments.bundled.exists():
        forced = forced_splits(read_list(arguments.bundled))
    with tempfile.TemporaryDirectory(prefix="aligncvc-") as temporary:
        scratch = arguments.scratch or Path(temporary)
        folder = furniture_folder(arguments.package, Context(Path(temporary) / "package", Policy()))
        rows, reasons = curate(folder, forced, scratch)
    write_list(arguments.out, rows, COMMENT)
    splits = Counter(row.split for row in rows)
    print(f"{arguments.out}: {len(rows)} objects ({dict(splits)}); " + ", ".join(
        f"{reason}: {count}" for reason, count in sorted(reasons.items())
    ))  # fmt: skip


if __name__ == "__main__":
    cli(main)
