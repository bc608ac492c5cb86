"""The fingerprint of a job's code: `python -m aligncvc.workflow.fingerprint aligncvc.align.train`.

Snakemake does not see edits in the modules that a job imports, so each rule carries this hash as a
parameter. It covers the import closure, inside this package, of the stage and of the networks and the
feedback that the job's settings name (package `__init__`s, imports inside functions, modules named whole in
strings), and the other source files of the packages it touches (C kernels, templates). Comments, docstrings,
descriptions of settings and formatting do not count, and neither do networks that the job does not use.
No torch: the workflow computes it at every start.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from aligncvc.models.kinds import Role, feedback_module, package_of
from aligncvc.models.specs import ModelSpec

SOURCE = Path(__file__).resolve().parents[2]
"""The folder that holds the package."""
PACKAGE = "aligncvc"

_MODULE_NAME = re.compile(rf"^{PACKAGE}(\.\w+)+(:\w+)?$")
_C_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_C_SUFFIXES = {".c", ".h", ".cu", ".cpp"}
_DATA_SUFFIXES = {*_C_SUFFIXES, ".html", ".css", ".js", ".json", ".yaml", ".tsv", ".txt", ".tex", ".svg"}


def module_path(module: str, source: Path = SOURCE) -> Path | None:
    """The file of a module, or a package's `__init__.py`, if there is one."""
    base = source.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def entry_module(module: str, source: Path = SOURCE) -> str:
    """What `python -m module` runs: a package stands for its `__main__`."""
    main = f"{module}.__main__"
    return main if module_path(main, source) else module


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of the tree except the bodies of `if TYPE_CHECKING:`, which never run."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _runtime_nodes(other)
        else:
            yield from _runtime_nodes(child)


@cache
def imported_modules(module: str, source: Path = SOURCE) -> frozenset[str]:
    """The package's modules that `module` names: imports at any depth of the code, and in strings."""
    path = module_path(module, source)
    if path is None:
        return frozenset()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    named: set[str] = set()
    for node in _runtime_nodes(_tree(path)):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), ".".join(package))
            named.add(base)
            named.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _MODULE_NAME.match(str(node.value)):
            name = str(node.value).partition(":")[0]
            named.update({name, entry_module(name, source)})
    return frozenset(n for n in named if n.split(".")[0] == PACKAGE and module_path(n, source))


def closure(module: str, source: Path = SOURCE) -> list[str]:
    """`module`, all it imports of this package and the packages that contain them, sorted."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting.extend(imported_modules(name, source))
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return sorted(name for name in found if module_path(name, source))


def data_files(modules: list[str], source: Path = SOURCE) -> list[Path]:
    """Sources other than Python in the sub-packages of `modules` (kernels, templates), sorted."""
    paths = {module_path(name, source) for name in modules}
    folders = {path.parent for path in paths if path is not None and path.name == "__init__.py"}
    files: set[Path] = set()
    for folder in folders - {source / PACKAGE}:
        inner = {path.parent for path in folder.rglob("__init__.py")} - {folder}
        for path in folder.rglob("*"):
            belongs_elsewhere = any(parent in inner for parent in path.parents)
            if path.suffix in _DATA_SUFFIXES and "__pycache__" not in path.parts and not belongs_elsewhere:
                files.add(path)
    return sorted(files)


class _Bare(ast.NodeTransformer):
    """Drops what only people read: strings as statements, and the description of a setting."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


@cache
def normalised(path: Path) -> str:
    """A file's meaning without its looks: the syntax tree, or C without comments, or the text as it is."""
    if path.suffix == ".py":
        # Parsed again: the transformer edits in place and `_tree` is shared.
        return ast.dump(_Bare().visit(ast.parse(path.read_text(encoding="utf-8"))))
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in _C_SUFFIXES:
        text = _C_COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else " ", text)
        return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    return text


@cache
def _file_digest(path: Path, source: Path) -> bytes:
    name = str(path.relative_to(source)) if path.is_relative_to(source) else path.name
    return b"".join(hashlib.sha256(part.encode()).digest() for part in (name, normalised(path)))


@cache
def code_hash(module: str, *more: str, source: Path = SOURCE) -> str:
    """16 hex digits that change when, and only when, code that these modules can reach changes.

    A package stands for its `__main__`. `more` may name packages outside this one: all their Python files
    count. Raises ValueError if there is no such module.
    """
    entries = [entry_module(name, source) for name in (module, *more) if name.split(".")[0] == PACKAGE]
    for entry in entries:
        if module_path(entry, source) is None:
            raise ValueError(f"there is no module {entry} under {source}")
    modules = sorted({name for entry in entries for name in closure(entry, source)})
    paths = [path for name in modules if (path := module_path(name, source))] + data_files(modules, source)
    for name in more:
        if name.split(".")[0] != PACKAGE:
            paths += _outside(name)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_file_digest(path, source))
    return digest.hexdigest()[:16]


def _outside(name: str) -> list[Path]:
    """Python files of a module or package of the user's."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {name}")
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]


def job_modules(settings: Any) -> list[str]:
    """The modules that a job's settings name, at any depth: networks of pair and judge, the feedback."""
    feedback = getattr(settings, "feedback", None)
    found = [] if feedback is None else [feedback_module(feedback)]
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, ModelSpec):
            found.append(network_module(name, value))
        elif isinstance(value, BaseModel):
            found += job_modules(value)
    return list(dict.fromkeys(found))


def network_module(field: str, model: ModelSpec) -> str:
    """The module that builds a model; a field called `generator` holds a generator, others reconstructors.

    PretrainJob's `model` is of either role: whichever has that kind.
    """
    roles: tuple[Role, ...] = ("generators",) if field == "generator" else ("reconstructors", "generators")
    if "." in model.kind:
        return f"{model.kind}.network"
    names = [f"{package_of(role, model.kind)}.network" for role in roles]
    return next((name for name in names if module_path(name)), names[0])


def main() -> None:
    """Print each named module's hash and the modules that it covers."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        print("usage: python -m aligncvc.workflow.fingerprint MODULE ...   (such as aligncvc.align)")
        raise SystemExit(0 if "--help" in sys.argv else 2)
    for module in sys.argv[1:]:
        print(module, code_hash(module))
        for name in closure(entry_module(module)):
            print("   ", name)


if __name__ == "__main__":
    main()
