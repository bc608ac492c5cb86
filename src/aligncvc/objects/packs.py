"""Chooses among the objects of the CC0 packs: `config/objects/cc0-packs.tsv`, and a list of what is left out.

Left out, with the reason: what is no single thing that a person would photograph, what is flat or thin (as in
the furniture package), what the pack calls CC0 though its maker gave other terms, and what has an address
that reads like a package registry's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tyro

from aligncvc.errors import UserError, cli
from aligncvc.files import PROJECT_ROOT
from aligncvc.objects.convert import surface_of
from aligncvc.objects.curate import MIN_FLATNESS, MIN_THICKNESS
from aligncvc.objects.listing import LIST_COLUMNS, ObjectRow, read_list, write_list
from aligncvc.scene.gltf import Gltf
from aligncvc.tsv import write_tsv

PACKS = PROJECT_ROOT / "config/objects/cc0-packs.tsv"
LEFT_OUT = PROJECT_ROOT / "config/objects/cc0-packs-left-out.tsv"
ADDRESS = "address"
RULES = {
    "character": r"/modular_(wo)?men/|/mech_pack/|KnightCharacter|/Character\.|/Enemy[_.]|/Astronaut_|/Mech_"
    r"|/pirate-(captain|crew|officer)/|/cyborg-female/|/Dummy_Base",
    "part of a kit": r"/base\.|/building_[A-H]\.|/building_(dirt|grain)|/landingpad_|/tunnel_|/structure_"
    r"|/kitchencounter_(inner|outer)corner|/Connector-|/Ramp-|/Dock_|/Pipe_|/Cable_|/Support\.|/Bars\."
    r"|/Entrance|/Props_Base\.|/lander_base|/Sawmill_saw",
    "symbol": r"/Numbers_|/platformer_game_pack/(Arrow|Thunder)|/Heart[_.]|/Star\."
    r"|/Pickup_(Health|Heart|Thunder)|/Snowflake|/react-logo/|/node/|/hole/|/Primitive_Cube|/Smoke\.|/Collectible_Board",
    "several things": r"_Group|/trees_[AB]_|/Farm_|_Crop\.|/Streets_all|/target_pieces_|/low-poly-farm/",
    "terms of its maker": r"/(bunny|dragon|lucy|nes|nes-controller|suzanne-(high|low)-poly)/",
    ADDRESS: r"/simple_nature_pack/",  # a path with /simple is what a search for registries' hosts stops at
}
"""What is left out: reason -> pattern of the mirror's path."""
COMMENT = """Objects of CC0 packs, for training: by Kay Lousberg (KayKit), Quaternius, Kenney and others.
path, sha256: the GLB of a mirror folder: textures at most 256 px, large meshes simplified, no animations.
source: the archive of a repository at one commit, and the published file in it; source_sha256: of that file.
Chosen by `python -m aligncvc.objects.packs`; near-duplicates stand on one side of the split by `python -m
aligncvc.pretrain.duplicates`. Left out, with reasons: cc0-packs-left-out.tsv. That Quaternius is CC0 says his
License.txt in beep2bleep/FreeAssetsByKenneyNLandQuaternius; the market's "license: 1" is read as CC0."""
COMMENT_LEFT_OUT = """Objects of the CC0 packs that `python -m aligncvc.objects.packs` leaves out, and why.
character: a person or a robot with its arms out. part of a kit: a tile, a wall, a pipe. symbol: a number, a
heart. several things: a group, a field. flat, thin: see aligncvc.objects.curate. terms of its maker: the pack
says CC0, its maker says otherwise, or is not asked (scans of Stanford, Blender's monkey, consoles).
address: reads like a package registry's, so the column `source` is empty; the object itself is sound."""


def rejected(path: str, extents: Iterable[float]) -> str | None:
    """Why an object is left out, or None. path: in the mirror; extents: its bounding box's sides."""
    for reason, pattern in RULES.items():
        if re.search(pattern, path):
            return reason
    short, middle, longest = sorted(extents)
    if short < MIN_FLATNESS * longest:
        return "flat"
    return "thin" if middle < MIN_THICKNESS * longest else None


def choose(rows: Iterable[ObjectRow], mirror: Path) -> tuple[list[ObjectRow], list[tuple[ObjectRow, str]]]:
    """(rows to keep, rows to leave out with their reasons). UserError for a mesh that is missing."""
    kept, out = [], []
    for row in rows:
        corners = [mesh.bounds for mesh in surface_of(Gltf.read(mirror / row.path))]
        reason = rejected(f"/{row.path}", np.ptp(np.concatenate(corners), axis=0)) if corners else "empty"
        if reason is None:
            kept.append(row)
        else:
            out.append((row, reason))
    return kept, out


def packs(mirror: Path, /, kept: Path | None = None, left_out: Path | None = None) -> None:
    """Choose anew among the objects of both lists.

    Args:
        mirror: folder that holds what the lists' column `path` names.
        kept: the list of what is used; config/objects/cc0-packs.tsv of the checkout if left out.
        left_out: the list of what is not; cc0-packs-left-out.tsv beside it if left out.
    """
    kept, left_out = kept or PACKS, left_out or LEFT_OUT
    if not mirror.is_dir():
        raise UserError(f"no folder at {mirror}; give the one that mirrors the lists")
    known = read_list(kept) + (read_list(left_out) if left_out.exists() else [])
    rows, others = choose(sorted(known, key=lambda row: row.path), mirror)
    write_list(kept, rows, COMMENT)
    columns = [name for name in LIST_COLUMNS if name not in ("up", "front")]
    table = ({**asdict(row), **_why(row, reason)} for row, reason in others)
    write_tsv(left_out, [*columns, "reason"], table, COMMENT_LEFT_OUT)
    counts = Counter(reason for _, reason in others)
    print(f"{kept}: {len(rows)} objects; left out: {dict(sorted(counts.items()))}")


def _why(row: ObjectRow, reason: str) -> dict[str, str]:
    """Cells of a line of LEFT_OUT: the reason, and the source, empty where that is the reason."""
    return {"source": "" if reason == ADDRESS else row.source, "reason": reason}


def main() -> None:
    tyro.cli(packs)


if __name__ == "__main__":
    cli(main)
