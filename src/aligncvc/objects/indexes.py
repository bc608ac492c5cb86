"""The small file that stands for an object which is a folder, as a GLB does for a mesh: where it lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.files import write_json
from aligncvc.objects.listing import ObjectRow


def write_index(
    row: ObjectRow, folder: Path, files: Sequence[Path], content: Callable[[Path], str], path: Path
) -> None:
    """Check a folder against its list and write what stands for it. UserError if it differs.

    files: all that is read of the folder. content: their hash, not asked for again while they are the same.
    """
    stats = [file.stat() for file in files]
    stamp = [len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)]
    index = {"frames": str(folder), "stamp": stamp}  # equal: the files are not read again
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    found = before.get("sha256")
    if before != {**index, "sha256": found} or row.sha256 not in ("", found):
        found = content(folder)
        if row.sha256 not in ("", found):
            raise UserError(
                f"the files of {folder} have hash {found}, the list says {row.sha256}; fetch them again"
            )
        write_json(path, {**index, "sha256": found})


def read_index(path: Path) -> Path:
    """The folder that such a file names. Raises UserError if it names none."""
    try:
        return Path(json.loads(path.read_text(encoding="utf-8"))["frames"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no index of a folder ({error!r}); run the objects stage again") from error
