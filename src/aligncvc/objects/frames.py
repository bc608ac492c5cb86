"""Objects that come as rendered frames instead of meshes: their lists, and the files that stand for them.

    python -m aligncvc.objects.frames list ROOT --out LIST.tsv [--split train]
    python -m aligncvc.objects.frames export RENDERS --out ROOT

`list` writes an object list of a GObjaverse tree with a hash of each object; rows that are there already
are kept, so that it can be stopped and started again. `export` writes rendered objects of this workflow in
that layout. In the workflow (`source: gobjaverse`) the objects stage checks the hashes and writes
`<id>.frames.json` in the place of a GLB; the render stage reads the frames that it names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError, cli, reason_of
from aligncvc.files import write_json
from aligncvc.objects.gobjaverse import SUFFIX, frame_files, frames, frames_hash, instances, write_views
from aligncvc.objects.listing import ObjectRow, read_list, write_list
from aligncvc.objects.sources import Context, Job, listed, root_of
from aligncvc.ownership import claim_folder
from aligncvc.scene.views import load_views

LICENCE = "unknown"
"""GObjaverse names none for each object; Objaverse's own annotations do, by uid."""


def row_of(root: Path, instance: str, split: str) -> ObjectRow:
    """The line of a list for one instance. UserError if its frames are incomplete."""
    name = f"gobjaverse-{instance.replace('/', '-')}"
    return ObjectRow(name, name, instance, "GObjaverse", frames_hash(root / instance), LICENCE, "", split)


def write_index(row: ObjectRow, root: Path, path: Path) -> None:
    """Check an instance against its list and write what stands for it. UserError if it differs.

    Files that have neither number, size nor time changed since the index was written are not read again.
    """
    folder = root / row.path
    stamp = _stamp(folder)
    if not (path.is_file() and _kept(path, {"frames": str(folder), "stamp": stamp}, row.sha256)):
        found = frames_hash(folder)
        if row.sha256 and found != row.sha256:
            raise UserError(
                f"the frames of {folder} have hash {found}, the list says {row.sha256}; fetch them again"
            )
        write_json(path, {"frames": str(folder), "sha256": found, "stamp": stamp})


def _stamp(folder: Path) -> list[int]:
    """Number, bytes and latest change (ns) of an instance's files."""
    stats = [path.stat() for frame in frames(folder) for path in frame_files(folder, frame)]
    return [len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)]


def _kept(path: Path, wanted: dict[str, object], sha256: str) -> bool:
    """Whether an index of an earlier run still says the truth."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return all(before.get(key) == value for key, value in wanted.items()) and before.get("sha256") == (
        sha256 or before.get("sha256")
    )


def gobjaverse_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Jobs of a set with source gobjaverse: `path` is the dataset's root, `list` its list of objects."""
    root = root_of(objects, "the dataset's root").resolve()
    rows = listed(objects, what="frames, which python -m aligncvc.objects.frames list writes")
    return [Job(row, partial(write_index, row, root), suffix=SUFFIX) for row in rows]


@dataclass
class List:
    """Write the list of the objects below a root, with a hash of each."""

    root: Positional[Path]
    """Folder of <dictionary>/<instance>."""
    out: Path
    """The TSV; rows that it has already are kept as they are."""
    split: str = "train"
    """What to write into the column `split`."""

    def run(self) -> None:
        known = {row.path: row for row in read_list(self.out)} if self.out.is_file() else {}
        rows, bad = list(known.values()), 0
        for instance in instances(self.root):
            if instance in known:
                continue
            try:
                rows.append(row_of(self.root, instance, self.split))
            except Exception as error:
                print(f"left out: {instance}: {reason_of(error)}")
                bad += 1
                continue
            if len(rows) % 100 == 0:
                write_list(self.out, rows)
        if not rows:
            raise UserError(f"no object below {self.root} is complete; download them again")
        write_list(self.out, rows)
        print(f"{self.out}: {len(rows)} objects, {bad} incomplete ones left out")


@dataclass
class Export:
    """Write this workflow's renders in GObjaverse's layout."""

    renders: Positional[Path]
    """A folder of rendered objects (results/renders/SET)."""
    out: Path
    """Root of the tree."""
    force: bool = False
    """Write into `out` even if it holds files of another origin, and replace those of the same name."""

    def run(self) -> None:
        folders = sorted(path.parent for path in self.renders.glob("*/cameras.json"))
        if not folders:
            raise UserError(
                f"{self.renders} holds no rendered objects; give a folder like results/renders/train"
            )
        claim_folder(self.out, force=self.force)
        for number, folder in enumerate(folders):
            write_views(self.out / "0" / f"{number}", load_views(folder))
            print(f"{self.out}/0/{number}: {folder.name}")


def main() -> None:
    command = (
        Annotated[List, tyro.conf.subcommand("list")] | Annotated[Export, tyro.conf.subcommand("export")]
    )
    tyro.cli(command, prog="python -m aligncvc.objects.frames", description=__doc__).run()  # type: ignore[arg-type]


if __name__ == "__main__":
    cli(main)
