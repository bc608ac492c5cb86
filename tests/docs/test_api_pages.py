"""`make api` makes pages of docstrings: every public module, class and function has one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from aligncvc.files import PROJECT_ROOT

SOURCE = PROJECT_ROOT / "src/aligncvc"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__main__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_public_says_what_it_is(path: Path) -> None:
    """`main`, the entry of a command, is said by its module."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    named = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    public = [node for node in named if not node.name.startswith("_") and node.name != "main"]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(module) and not silent, silent


def test_the_target_names_every_package_and_what_it_leaves_out_exists() -> None:
    text = (PROJECT_ROOT / "Makefile").read_text()
    rule = text.split("\napi: env\n")[1].split("\n\n")[0]
    assert "$(wildcard src/aligncvc/*/__init__.py)" in rule
    for part in rule.split("'!")[1:]:
        name = part.split("'")[0]
        assert (SOURCE.parent / f"{name.replace('.', '/')}.py").is_file(), name
    assert "/.cache/" in (PROJECT_ROOT / ".gitignore").read_text() and ".cache/api" in rule
