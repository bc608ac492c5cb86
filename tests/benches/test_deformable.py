"""The bench of deformable attention: both kinds run, at a size that takes milliseconds."""

from __future__ import annotations

from typing import Literal

import pytest

from aligncvc.bench import deformable


@pytest.mark.parametrize("kind", ["dense", "deformable"])
def test_both_kinds_are_measured(
    kind: Literal["dense", "deformable"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deformable, "TOKENS", 8)
    monkeypatch.setattr(deformable, "SHAPES", [(4, 4), (2, 2)])
    seconds, rise = deformable.measured(kind, "wall", 1)
    assert seconds > 0 and rise >= 0


def test_rows_are_ratios_to_dense_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"dense": (3.0, 200.0), "deformable": (1.0, 250.0)}
    monkeypatch.setattr(deformable, "measured_apart", lambda work, kind, *rest: found[kind])
    seconds, memory = deformable.bench_deformable()
    assert (seconds["value"], seconds["reference"], seconds["ratio"]) == (1, 3, 3)
    assert (memory["value"], memory["unit"], memory["ratio"]) == (250, "MB", 0.8)
