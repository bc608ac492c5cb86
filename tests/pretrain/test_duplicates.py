"""Near-duplicates: found by name and by render, grouped, and put on one side of the split."""

from __future__ import annotations

import pytest
import torch

from aligncvc.errors import UserError
from aligncvc.objects.listing import ObjectRow, split_of
from aligncvc.pretrain.duplicates import groups, near_by_name, near_by_render, sides


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
