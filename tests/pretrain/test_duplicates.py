"""Near-duplicates: found by name and by render, grouped, and put on one side of the split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trimesh

from aligncvc.errors import UserError
from aligncvc.objects.listing import (
    ManifestRow,
    ObjectRow,
    read_list,
    split_of,
    write_list,
    write_manifest,
)  # fmt: skip
from aligncvc.pretrain.duplicates import (
    drawn_rings,
    groups,
    near_by_name,
    near_by_render,
    separate,
    sides,
)  # fmt: skip


def row(name: str) -> ObjectRow:
    return ObjectRow(name.replace(" ", "-"), name, "", "", "", "", "", split_of(name, {}))


def ring_of_discs(radii: list[float], shade: float) -> torch.Tensor:
    """(R, 4, 32, 32): a disc of another radius in each view."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    alpha = torch.stack([((x.square() + y.square()) < r * r).float() for r in radii])
    return torch.stack([shade * alpha] * 3 + [alpha], 1)


def test_rings_are_alike_up_to_a_quarter_turn_and_paint() -> None:
    radii = [0.3, 0.4, 0.5, 0.9, 0.3, 0.4, 0.5, 0.6]
    other = [0.8, 0.2, 0.8, 0.2, 0.8, 0.2, 0.8, 0.2]
    rings = [
        ring_of_discs(radii, 0.5),
        ring_of_discs(radii[2:] + radii[:2], 0.5),
        ring_of_discs(radii, 0.1),
        ring_of_discs(other, 0.5),
    ]
    assert near_by_render(torch.stack(rings)) == [(0, 1), (0, 2), (1, 2)]


def test_names_are_alike_without_numbers_or_with_further_words() -> None:
    names = ["Table", "Table 2", "Wooden table", "Wooden tables (large)", "Old wooden table", "Chair"]
    assert near_by_name(names) == [(0, 1), (2, 3), (2, 4), (3, 4)]


def test_meshes_that_were_only_fetched_are_drawn_and_compared(tmp_path: Path) -> None:
    """Two cones of one shape in two sizes and colours, and a ring; their names say nothing."""
    cone = trimesh.creation.cone(1.0, 2.0)
    shapes = {
        "ann": cone,
        "bob": cone.copy().apply_scale(3.0).apply_translation((5, 0, 0)),
        "cid": trimesh.creation.annulus(0.8, 1.0, 0.2),
    }
    rows = [ObjectRow(name, name, "", "s", "", "CC0-1.0", "me", split_of(name, {})) for name in shapes]
    for name, shape in shapes.items():
        shape.visual.vertex_colors = [200, 30, 90, 255] if name == "bob" else [40, 90, 200, 255]
        shape.export(tmp_path / f"{name}.glb")
    write_manifest(tmp_path / "manifest.tsv", [ManifestRow.of(row, f"{row.id}.glb", "1") for row in rows])
    ids, rings = drawn_rings(tmp_path / "manifest.tsv")
    assert ids == [*shapes] and rings.shape == (3, 16, 4, 16, 16)
    assert near_by_render(rings) == [(0, 1)]
    wanted = {"ann": "eval", "bob": "train", "cid": "train"}
    write_list(tmp_path / "l.tsv", [replace(row, split=wanted[row.id]) for row in rows], "a comment")
    write_list(tmp_path / "forced.tsv", [replace(rows[1], split="eval")])
    separate(objects=tmp_path / "manifest.tsv", list=tmp_path / "l.tsv", bundled=tmp_path / "forced.tsv")
    sides_of = {row.id: row.split for row in read_list(tmp_path / "l.tsv")}
    assert sides_of == {"ann": "eval", "bob": "eval", "cid": split_of("cid", {})}
    assert (tmp_path / "l.tsv").read_text().startswith("# a comment\n")
    with pytest.raises(UserError, match="either --renders or --objects"):
        separate(list=tmp_path / "l.tsv")


def test_groups_are_connected_components() -> None:
    assert groups(6, [(4, 1), (1, 2), (0, 5)]) == [[0, 5], [1, 2, 4], [3]]


def test_a_group_takes_one_side() -> None:
    rows = [row(f"thing {chr(97 + i)}") for i in range(26)]
    assert {r.split for r in rows} == {"train", "eval"}  # else the test shows nothing
    chain = [(i, i + 1) for i in range(25)]
    assert {r.split for r in sides(rows, chain, {})} == {split_of("thing a", {})}
    assert {r.split for r in sides(rows, chain, {"thing q": "eval"})} == {"eval"}
    assert sides(rows, [], {}) == rows
    with pytest.raises(UserError, match="both sides"):
        sides(rows, chain, {"thing q": "eval", "thing c": "train"})
