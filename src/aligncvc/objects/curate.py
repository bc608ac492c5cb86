"""Choose the useful objects of the furniture package and write `config/objects/furniture.tsv`.

Left out: people, doors, windows, stairs, plugs, switches, road marks, whole rooms, and shapes that are flat,
thin or tiny: from most azimuths of a ring of cameras there is nothing to see of them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import tyro

from aligncvc.errors import cli, reason_of
from aligncvc.files import PROJECT_ROOT, sha256_file
from aligncvc.objects.convert import check_glb
from aligncvc.objects.download import Policy
from aligncvc.objects.listing import ObjectRow, forced_splits, read_list, split_of, write_list
from aligncvc.objects.sources import Context
from aligncvc.objects.sweethome3d import CatalogueEntry, Library, furniture_folder, libraries
from aligncvc.ownership import claim_files, claim_folder

FURNITURE = PROJECT_ROOT / "config/objects/furniture.tsv"
BUNDLED = PROJECT_ROOT / "config/objects/bundled.tsv"
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
    name = entry.row.name.lower()
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


def curate(furniture: Path, forced: dict[str, str], scratch: Path) -> tuple[list[ObjectRow], Counter[str]]:
    """Convert every kept object of the unpacked package into `scratch`: (rows, counts of the reasons)."""
    rows: dict[str, ObjectRow] = {}
    reasons: Counter[str] = Counter()
    for library in map(Library, libraries(furniture)):
        for entry in library.entries:
            reason, glb = rejected(entry), scratch / f"{entry.row.id}.glb"
            if reason is None:
                try:
                    library.convert(entry, glb)
                    check_glb(glb)
                    sha256 = sha256_file(glb)
                    if glb.stat().st_size > MAX_GLB_BYTES:
                        reason = "too large"
                    elif sha256 in rows:
                        reason = "same as another"
                except Exception as error:
                    print(f"{entry.row.id}: {reason_of(error)}")
                    reason = "unreadable"
            reasons[reason or "kept"] += 1
            if reason is None:
                rows[sha256] = replace(entry.row, sha256=sha256, split=split_of(entry.row.name, forced))
    return list(rows.values()), reasons


def curated(
    package: str | None = None,
    out: Path | None = None,
    bundled: Path | None = None,
    scratch: Path | None = None,
    force: bool = False,
) -> None:
    """Write the list of useful objects of the furniture package.

    Args:
        package: a .deb, its URL, or a folder with its .sh3f files (default: from apt).
        out: the list to write; config/objects/furniture.tsv of the checkout if left out.
        bundled: a list whose splits are binding for objects of the same name; config/objects/bundled.tsv of
            the checkout if left out, and none if the file is absent.
        scratch: keep the converted GLBs here (default: a temporary folder).
        force: replace files of another origin in `out` and `scratch`.
    """
    if out is not None:  # the checkout's own is under version control, and made anew at will
        claim_files([out], force=force)
    if scratch is not None:
        claim_folder(scratch, force=force)
    out, bundled = out or FURNITURE, bundled or BUNDLED
    forced = forced_splits(read_list(bundled)) if bundled.exists() else {}
    with tempfile.TemporaryDirectory(prefix="aligncvc-") as temporary:
        folder = furniture_folder(package, Context(Path(temporary) / "package", Policy()))
        rows, reasons = curate(folder, forced, scratch or Path(temporary))
    write_list(out, rows, COMMENT)
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    print(f"{out}: {len(rows)} objects ({dict(Counter(row.split for row in rows))}); {counts}")


def main() -> None:
    tyro.cli(curated)


if __name__ == "__main__":
    cli(main)
