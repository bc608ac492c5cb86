"""`aligncvc COMMAND ...`: the stages and tools under one name. Each is also `python -m aligncvc.COMMAND`."""

from __future__ import annotations

import contextlib
import difflib
import io
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, util
from typing import Annotated, Any, Union

import tyro

from aligncvc import __version__
from aligncvc.errors import UserError, cli

COMMANDS = {
    "sample": "a photograph, or a whole set, to 3D Gaussians",
    "app": "a page in the browser to upload a picture to",
    "pipeline": "save a pair as a folder, push it to the hub, pull it from there",
    "objects": "fetch a set of 3D objects",
    "render": "render objects with Blender",
    "pretrain": "train one of the demo's networks",
    "align": "post-train a pair",
    "evaluate": "score samples, or predictions of other methods",
    "paper": "tables, figures, report and verdict from records",
    "checkpoints": "list, check and fetch weights",
    "config": "print, check and compare configurations and protocols",
    "bench": "measure speeds",
    "workflow.doctor": "say what this machine lacks",
}
"""In the order of the help. Modules below these are commands too, such as `aligncvc evaluate.met3r`."""

COMPLETION = "--tyro-print-completion"


def usage() -> str:
    """The help of `aligncvc` without a command."""
    lines = (f"  {name:16} {said}" for name, said in COMMANDS.items())
    return "\n".join(
        [
            "usage: aligncvc COMMAND ...",
            "",
            "One image to a 3D Gaussian model in four aligned denoising steps.",
            "",
            *lines,
            "",
            "aligncvc COMMAND --help says more of each, aligncvc --version which this is, and",
            f"aligncvc {COMPLETION} bash (or zsh, tcsh, fish) prints what completes all in a shell.",
        ]
    )


def entry(name: str) -> Callable[[], None]:
    """The `main` of a command's module. UserError, with the nearest name, if there is none."""
    main = None
    if name.split(".")[0] in {known.split(".")[0] for known in COMMANDS}:
        module = f"{__package__}.{name}"
        try:
            package = util.find_spec(f"{module}.__main__") if _is_package(module) else None
            main = getattr(import_module(f"{module}.__main__" if package else module), "main", None)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # the command is there and lacks something else
    if main is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        raise UserError(f"there is no command {name!r}; {hint}")
    return main


def _is_package(module: str) -> bool:
    spec = util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


def command_tree() -> Any:
    """All commands with all their options, for completion: a type that tyro can read and nobody runs."""
    return _one_of({name: _parsed_by(name) for name in COMMANDS if not name.startswith("workflow")})


def completion(words: Sequence[str]) -> str:
    """The script that tyro makes for a shell, with the help of each option in one line, as shells need it."""
    flat = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(command_tree(), prog="aligncvc", args=words, config=flat)
    lines = printed.getvalue().splitlines(keepends=True)
    return "".join(line.replace(r"\n", " ") if line.startswith("COMPLETION_SPEC") else line for line in lines)


def _parsed_by(name: str) -> Any:
    """What a command parses its words as: a function, a dataclass, or commands of its own."""
    module = import_module(f"{__package__}.{name}.__main__")
    return module.COMMANDS if hasattr(module, "COMMANDS") else module.COMMAND


def _one_of(commands: dict[str, Any]) -> Any:
    """A subcommand for each."""
    options = []
    for name, parsed in commands.items():
        if isinstance(parsed, dict):
            parsed = _nested(name, parsed)
        options.append(Annotated[Any, tyro.conf.subcommand(name, constructor=parsed)])  # type: ignore[arg-type]
    return Union[tuple(options)]  # noqa: UP007  (made at run time)


def _nested(name: str, commands: dict[str, Any]) -> Callable[..., None]:
    def group(command: Any) -> None: ...

    group.__name__ = name
    group.__annotations__ = {"command": _one_of(commands), "return": None}
    return group


def main(words: Sequence[str] | None = None) -> None:
    """Entry point of the command `aligncvc`. words: None: those that were typed."""
    cli(lambda: _run(list(sys.argv[1:] if words is None else words)))


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(usage())
    elif words[0] == "--version":
        print(f"aligncvc {__version__}")
    elif words[0] == COMPLETION:
        print(completion(words), end="")
    else:
        sys.argv = [f"aligncvc {words[0]}", *words[1:]]
        try:
            entry(words[0])()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] == __package__:
                raise
            raise UserError(
                f"aligncvc {words[0]} needs the Python package {error.name}, which is not installed; run "
                "`make env`, or install the extra that it belongs to (docs/library.md)"
            ) from error


if __name__ == "__main__":
    main()
