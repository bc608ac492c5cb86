"""Sentences for what one item of a set may raise."""

from __future__ import annotations

import trimesh

from aligncvc.errors import UserError, reason_of
from aligncvc.scene.gaussians import matrix_to_quaternion


def test_a_users_error_speaks_for_itself() -> None:
    assert reason_of(UserError("a.ply is cut off; copy it again")) == "a.ply is cut off; copy it again"


def test_anything_else_says_kind_place_and_remedy_in_one_line() -> None:
    try:
        matrix_to_quaternion(trimesh)  # type: ignore[arg-type]
    except Exception as error:
        said = reason_of(error)
    assert said.startswith("it could not be handled (TypeError: ")
    assert ", in gaussians.py line " in said and said.endswith("); check its files")
    assert "\n" not in reason_of(ValueError("two\nlines"))
    assert "nothing more is known" in reason_of(AssertionError())
    assert "more memory than this machine has" in reason_of(MemoryError())
