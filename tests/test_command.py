"""The command `aligncvc`: its help, its delegating, its completion."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

from aligncvc import __version__
from aligncvc.__main__ import COMMANDS, entry, main
from aligncvc.files import PROJECT_ROOT

TOOLS = [
    ".".join(path.relative_to(PROJECT_ROOT / "src/aligncvc").with_suffix("").parts)
    for path in sorted((PROJECT_ROOT / "src/aligncvc").glob("*/*.py"))
    if path.stem != "__main__" and "    cli(" in path.read_text(encoding="utf-8")
]
"""Modules below the commands that are commands too."""


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["aligncvc"])  # which the command changes


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    main(["--help"])
    assert capsys.readouterr().out == shown
    main(["--version"])
    assert capsys.readouterr().out == f"aligncvc {__version__}\n"


def test_every_listed_command_and_every_tool_below_has_an_entry() -> None:
    """It reads the words itself: what takes options would run with its defaults."""
    assert {"objects.curate", "evaluate.met3r", "bench.dry_step"} <= set(TOOLS)
    for name in (*COMMANDS, *TOOLS):
        assert not signature(entry(name)).parameters, name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sampel", "did you mean sample?"),
        ("os", "choose one of sample, "),
        ("evaluate.nothing", "did you mean evaluate?"),
        ("config.plan", ""),
        ("errors", ""),
    ],
)
def test_what_is_no_command_is_one_sentence(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count("\n") == 1
    assert error.startswith(f"error: there is no command {name!r}; ") and hint in error


def test_a_stage_gets_its_words_and_names_itself_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["checkpoints", "list", "u2netp"])
    assert "u2netp" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sample", "--nonsense"])
    said = capsys.readouterr()
    assert "aligncvc sample --help" in " ".join((said.out + said.err).split())
    with pytest.raises(SystemExit) as caught:
        main(["sample", "--out", "x"])
    assert caught.value.code == 2 and "give a photograph" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*COMMANDS, *TOOLS])
def test_help_names_the_command_as_typed_and_no_path_of_this_machine(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does that of its subcommands."""
    package = name in COMMANDS and "." not in name
    module = import_module(f"aligncvc.{name}.__main__" if package else f"aligncvc.{name}")
    for subcommand in ([], *([each] for each in getattr(module, "COMMANDS", ()))):
        with pytest.raises(SystemExit) as caught:
            main([name, *subcommand, "--help"])
        shown = "".join(capsys.readouterr().out.replace("│", "").split())  # a path may be broken into lines
        assert caught.value.code in (0, None) and f"usage:aligncvc{name}" in shown
        assert str(PROJECT_ROOT) not in shown and f"{Path.home()}/" not in shown


@pytest.mark.parametrize("missing", ["pandas", "aligncvc.evaluate.stats"])
def test_a_missing_package_is_not_taken_for_a_missing_command(missing: str) -> None:
    """An extra that was not installed is one sentence; a module of our own that is not there is a fault."""
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from aligncvc.__main__ import main; main(['evaluate.discrimination', '--help'])"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", script], env=environment, text=True, capture_output=True)
    if missing == "pandas":
        assert found.returncode == 2 and found.stderr.count("\n") == 1
        assert "needs the Python package pandas, which is not installed" in found.stderr
    else:
        assert found.returncode == 1 and "ModuleNotFoundError" in found.stderr


def test_bash_completes_commands_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--tyro-print-completion", "bash"])
    (tmp_path / "completion.bash").write_text(capsys.readouterr().out)
    script = """
        source completion.bash
        complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _tyro_aligncvc
                           echo "${COMPREPLY[*]}"; }
        complete_words aligncvc sam
        complete_words aligncvc paper ta
        complete_words aligncvc sample --
    """
    found = subprocess.run(["bash", "-c", script], cwd=tmp_path, text=True, capture_output=True, check=True)
    command, table, options = found.stdout.splitlines()
    assert (command.strip(), table.strip()) == ("sample", "table")
    assert {"--out", "--config", "--set", "--steps", "--raw"} <= set(options.split())
    assert all(word.startswith("--") for word in options.split())


def test_the_launcher_of_make_env_runs_its_own_python(tmp_path: Path) -> None:
    """Also where the environment was moved to, and through a link."""
    source = (PROJECT_ROOT / "envs/install.py").read_text(encoding="utf-8")
    folder = tmp_path / "moved here/bin"
    folder.mkdir(parents=True)
    launcher, link = folder / "aligncvc", tmp_path / "link"
    launcher.write_text(source.split('COMMAND = """')[1].split('"""')[0])
    (folder / "python").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    for path in (launcher, folder / "python"):
        path.chmod(0o755)
    link.symlink_to(launcher)
    for command in (launcher, link):
        found = subprocess.run([command, "sample", "a b.jpg"], text=True, capture_output=True, check=True)
        assert found.stdout == "-m|aligncvc|sample|a b.jpg|"
