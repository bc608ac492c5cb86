"""Every command in README and docs parses as it is typed: modules, options, targets, files that it names."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tyro
from snakemake.cli import get_argument_parser

from aligncvc.__main__ import COMPLETION, _one_of
from aligncvc.files import PROJECT_ROOT

PAGES = [
    *(PROJECT_ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(PROJECT_ROOT.glob("*/README.md")),
    *sorted(PROJECT_ROOT.glob("config/*/README.md")),
    *sorted(PROJECT_ROOT.glob("docs/*.md")),
]
TOLD = [
    *PAGES,
    *(
        path
        for folder in ("config", "src", "workflow")
        for path in (PROJECT_ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".yaml", ".smk", ".html") or path.name == "Snakefile"
    ),
]
PROGRAMS = re.compile(r"(?:\.venv/bin/)?(python|snakemake|aligncvc|make|pip|accelerate|git|docker|apt-get) ")
RULES = {
    name
    for path in (PROJECT_ROOT / "workflow").rglob("*")
    if path.suffix == ".smk" or path.name == "Snakefile"
    for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
}
TARGETS = set(re.findall(r"^([a-z]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
MADE_BY_THE_READER = {"predict.py", "photo.jpg", "my.yaml", "mine.yaml", "config/mine.yaml"}


def commands(page: Path) -> list[str]:
    """Lines of blocks that start with a program, and inline calls that have options."""
    text = re.sub(r" *\\\n +", " ", page.read_text(encoding="utf-8"))
    blocks = re.findall(r"^(?:    |\t)(.+)$", text, re.MULTILINE)
    for block in re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        blocks += block.splitlines()
    # inline they are mentions, and commands only where they have options
    inline = re.findall(r"`((?:\.venv/bin/)?(?:python -m |snakemake |aligncvc )[^`\n]+ -[^`\n]+)`", text)
    found = (line.strip().removeprefix("$ ") for line in [*blocks, *inline])
    return [line for line in found if PROGRAMS.match(line)]


def told_in(config: Path) -> list[str]:
    """Commands in a configuration's comments, and those that the ledger says make a file."""
    text = config.read_text(encoding="utf-8")
    text = re.sub(r" *\\\n *# +", " ", text)
    found = re.findall(
        r"^ *(?:# +(?:[\w ]+: )?|made_by: )((?:python -m |snakemake )\S.*)$", text, re.MULTILINE
    )
    return [re.sub(r" \[--.*?\]|  #.*", "", line) for line in found]


CONFIGS = sorted(PROJECT_ROOT.glob("config/*.yaml"))
TYPED = [
    pytest.param(line, id=f"{p.name}: {line[:60]}")
    for paths, lines_of in ((PAGES, commands), (CONFIGS, told_in))
    for p in paths
    for line in dict.fromkeys(lines_of(p))
]


def words_of(line: str) -> list[str]:
    """A command's words, the program by its plain name; comments redirections and `...` are dropped."""
    words = [word for word in shlex.split(line.split(" > ")[0], comments=True) if word != "..."]
    return [words[0].rpartition("/")[2], *words[1:]]


class Parsed(Exception):  # noqa: N818  (a signal)
    """A command came to reading its words, by this type, function or table of commands."""


def parse(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the parser of `python -m module` read the words, without running what they are read for."""

    def reads(target: Any, *_: Any, **__: Any) -> Any:
        raise Parsed(target)

    found = import_module(module)
    if hasattr(found, "__path__"):
        found = import_module(f"{module}.__main__")
    monkeypatch.setattr(tyro, "cli", reads)
    monkeypatch.setattr(tyro.extras, "subcommand_cli_from_dict", reads)
    if hasattr(found, "subcommand_cli_from_dict"):
        monkeypatch.setattr(found, "subcommand_cli_from_dict", reads)
    target = getattr(found, "command", None)  # of small tools without a `main`
    if hasattr(found, "main"):
        with pytest.raises(Parsed) as caught:
            found.main()
        target = caught.value.args[0]
    monkeypatch.undo()
    if isinstance(target, dict):
        target = _one_of(target)
    assert target is not None, f"{module} reads no words"
    config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    tyro.extras.get_parser(target, prog=module, config=config).parse_args(words)


def check_snakemake(words: list[str]) -> None:
    """Options are Snakemake's, and files and targets exist."""
    options = get_argument_parser().parse_args(words)
    assert options.cores or options.dryrun or options.workflow_profile or "--lint" in words, (
        "it asks for --cores"
    )
    for path in options.configfile or ():
        assert str(path) in MADE_BY_THE_READER or (PROJECT_ROOT / path).is_file(), path
    if options.workflow_profile:
        assert (PROJECT_ROOT / options.workflow_profile).is_dir()
    targets = {str(target) for target in options.targets}
    assert all(target in RULES or target.startswith("results/") for target in targets), targets


def check(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise or exit unless a line is a command that would be read as it stands."""
    program, *words = words_of(line)
    if program == "accelerate":  # launch ... -m MODULE ...
        program, words = "python", words[words.index("-m") :]
    if program == "python" and words[0] == "-m" and words[1].startswith("aligncvc"):
        parse(words[1], words[2:], monkeypatch)
    elif program == "python" and words[:2] == ["-m", "pytest"]:
        assert all((PROJECT_ROOT / word).exists() for word in words[2:])
    elif program == "python":
        assert words[0] in MADE_BY_THE_READER or (PROJECT_ROOT / words[0]).is_file()
    elif program == "aligncvc" and words[0].startswith("-"):
        assert words[0] in ("--help", "--version", COMPLETION)
    elif program == "aligncvc":
        parse(f"aligncvc.{words[0]}", words[1:], monkeypatch)
    elif program == "snakemake":
        check_snakemake(words)
    elif program == "make":
        assert words[0] in TARGETS
    elif program == "pip":
        for flag, name in pairwise(words):
            assert flag not in ("-c", "-r") or (PROJECT_ROOT / name).is_file(), name
        asked = re.search(r"\.\[([\w,]+)\]", line)
        assert asked is None or set(asked[1].split(",")) <= EXTRAS


@pytest.mark.parametrize("line", TYPED)
def test_a_command_of_the_docs_is_read_as_typed(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        check(line, monkeypatch)
    except SystemExit as end:
        said = capsys.readouterr()
        if end.code not in (0, None):  # --help ends with 0
            pytest.fail(f"{line}\n{said.out}{said.err}")


@pytest.mark.parametrize(
    "line",
    [
        "python -m aligncvc.sample photo.jpg --nonsense 3",
        "aligncvc paper tabel --table table1",
        "snakemake --cors all",
        "snakemake nonsense",
        "make nonsense",
        "pip install -r envs/nothing.txt",
    ],
)
def test_a_wrong_command_is_found(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((SystemExit, AssertionError)):
        check(line, monkeypatch)


def test_pages_have_commands_and_all_programs_are_met() -> None:
    lines = [line for page in PAGES for line in commands(page)]
    programs = {words_of(line)[0] for line in lines}
    assert {"python", "snakemake", "aligncvc", "make", "pip", "git", "docker", "apt-get"} <= programs
    assert len(lines) > 50


def test_every_module_that_is_named_to_be_run_exists() -> None:
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in TOLD)
    named = {name for text in texts for name in re.findall(r"-m (aligncvc(?:\.[a-z]\w*)*)", text)}
    assert [name for name in sorted(named) if find_spec(name) is None] == []
    assert len(named) > 20


def test_every_module_that_a_page_names_by_its_path_exists() -> None:
    """Paths count from the checkout, from src or from the package; plain names may be anywhere."""
    roots = (PROJECT_ROOT, PROJECT_ROOT / "src", PROJECT_ROOT / "src/aligncvc")
    named = {
        (p.name, name) for p in PAGES for name in re.findall(r"`(\w+/[\w/]+\.py)`", p.read_text("utf-8"))
    }
    assert [found for found in sorted(named) if not any((root / found[1]).is_file() for root in roots)] == []
    assert len(named) > 10


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
