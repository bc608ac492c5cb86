"""The Dockerfile takes the steps of the README: same packages, same targets, paths that exist."""

from __future__ import annotations

import re
from pathlib import Path

from aligncvc.files import PROJECT_ROOT
from aligncvc.workflow.doctor import BLENDER_LIBRARIES

LINES = re.sub(r" *\\\n *", " ", (PROJECT_ROOT / "Dockerfile").read_text()).splitlines()
README = re.sub(r" *\\\n *", " ", (PROJECT_ROOT / "README.md").read_text())


def starting(word: str) -> list[list[str]]:
    return [line.split()[1:] for line in LINES if line.startswith(f"{word} ")]


def installed(line: str) -> set[str]:
    """Packages of an apt-get line."""
    found = re.search(r"apt-get install((?: -\S+)*)((?: [a-z0-9.+-]+)+)", line)
    assert found is not None
    return set(found[2].split())


def test_it_installs_what_the_readme_says() -> None:
    apt = next(line for line in LINES if "apt-get install" in line)
    packages = installed(apt)
    assert packages - {"ca-certificates"} == installed(README)
    assert set(BLENDER_LIBRARIES.values()) <= packages


def test_its_steps_are_those_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    assert starting("FROM") == [["debian:12-slim"]]
    assert ["make", "env"] in starting("RUN") and starting("CMD") == [['["make",', '"demo"]']]
    assert {"env", "demo"} <= targets
    assert not any("pip" in " ".join(words) for words in starting("RUN"))  # the lock alone decides


def test_what_it_copies_first_is_enough_for_the_environment() -> None:
    """Files that `make env` reads are there before it runs."""
    copied = {words[0] for words in starting("COPY")}
    assert all((PROJECT_ROOT / name).exists() for name in copied)
    order = [
        line.split()[0] + " " + line.split()[1] for line in LINES if line.startswith(("COPY", "RUN make"))
    ]
    assert set(order[: order.index("RUN make")]) == {"COPY Makefile", "COPY envs", "COPY src"}
    script = (PROJECT_ROOT / "envs/install.py").read_text()
    assert set(re.findall(r'ROOT / "(\w+)"', script)) <= {"envs", "src"}


def test_what_git_ignores_stays_out_of_the_image() -> None:
    ignored = Path(PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    for name in (".git", ".venv", ".snakemake", ".cache", "results/*", "!results/.gitkeep"):
        assert name in ignored
