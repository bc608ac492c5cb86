"""Objects that come as rendered frames instead of meshes: their lists, and the files that stand for them.

    python -m aligncvc.objects.frames list ROOT --out LIST.tsv [--split train]
    python -m aligncvc.objects.frames export RENDERS --out ROOT

In the workflow (`source: gobjaverse`) the objects stage checks the hashes of a list and writes
`<id>.frames.json` in the place of a GLB; the render stage reads the frames that it names.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tyro.conf import Positional
from tyro.extras import subcommand_cli_from_dict

from aligncvc.config.objects import ObjectSet
from aligncvc.errors import UserError, cli, reason_of
from aligncvc.objects.gobjaverse import SUFFIX, frame_files, frames, frames_hash, instances, write_views
from aligncvc.objects.indexes import write_index
from aligncvc.objects.listing import ObjectRow, read_list, write_list
from aligncvc.objects.sources import Context, Job, listed, root_of
from aligncvc.ownership import claim_folder
from aligncvc.scene.views import load_views


def _write(row: ObjectRow, root: Path, path: Path) -> None:
    folder = root / row.path
    files = [file for frame in frames(folder) for file in frame_files(folder, frame)]
    write_index(row, folder, files, frames_hash, path)


def gobjaverse_jobs(objects: ObjectSet, context: Context) -> list[Job]:
    """Jobs of a set with source gobjaverse: `path` is the dataset's root, `list` its list of objects."""
    root = root_of(objects, "the dataset's root").resolve()
    rows = listed(objects, what="frames, which python -m aligncvc.objects.frames list writes")
    return [Job(row, partial(_write, row, root), suffix=SUFFIX) for row in rows]


def list_objects(root: Positional[Path], out: Path, split: str = "train") -> None:
    """Write the list of the objects below a root, with a hash of each. It can be stopped and started again.

    Args:
        root: folder of <dictionary>/<instance>.
        out: the TSV; rows that it has already are kept as they are.
        split: what to write into the column `split`.
    """
    known = {row.path: row for row in read_list(out)} if out.is_file() else {}
    rows, bad = list(known.values()), 0
    for instance in (each for each in instances(root) if each not in known):
        name = f"gobjaverse-{instance.replace('/', '-')}"
        try:
            found = frames_hash(root / instance)
        except Exception as error:
            print(f"left out: {instance}: {reason_of(error)}")
            bad += 1
            continue
        # GObjaverse names no licences; Objaverse's own annotations do, by uid
        rows.append(ObjectRow(name, name, instance, "GObjaverse", found, "unknown", "", split))
        if len(rows) % 100 == 0:
            write_list(out, rows)
    if not rows:
        raise UserError(f"no object below {root} is complete; download them again")
    write_list(out, rows)
    print(f"{out}: {len(rows)} objects, {bad} incomplete ones left out")


def export(renders: Positional[Path], out: Path, force: bool = False) -> None:
    """Write this workflow's renders in GObjaverse's layout.

    Args:
        renders: a folder of rendered objects (results/renders/SET).
        out: root of the tree.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    folders = sorted(path.parent for path in renders.glob("*/cameras.json"))
    if not folders:
        raise UserError(f"{renders} holds no rendered objects; give a folder like results/renders/train")
    claim_folder(out, force=force)
    for number, folder in enumerate(folders):
        write_views(out / "0" / f"{number}", load_views(folder))
        print(f"{out}/0/{number}: {folder.name}")


def main() -> None:
    commands = {"list": list_objects, "export": export}
    subcommand_cli_from_dict(commands, description=__doc__)  # type: ignore[arg-type]


if __name__ == "__main__":
    cli(main)
