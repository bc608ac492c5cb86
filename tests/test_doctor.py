"""The preflight: every problem is one sentence that says what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aligncvc.files import PROJECT_ROOT
from aligncvc.workflow import doctor


def one_sentence(message: str) -> bool:
    return message.endswith(".") and "\n" not in message and message.count(". ") == 0


def test_this_machine_is_ready() -> None:
    assert [found.message for found in doctor.findings(before_install=False) if not found.ok] == []


def test_other_pythons_are_refused() -> None:
    assert doctor.check_python((3, 11, 7)).ok
    for version in ((3, 10, 2), (3, 12, 0), (2, 7, 18)):
        found = doctor.check_python(version)
        assert not found.ok and one_sentence(found.message)
        assert ".".join(map(str, version)) in found.message and "3.11" in found.message


def test_missing_libraries_are_named_as_packages() -> None:
    found = doctor.check_libraries({"libm.so.6": "libc6", "libnowhere.so.9": "libnowhere9"})
    assert not found.ok and one_sentence(found.message)
    assert "libnowhere9`" in found.message and "libc6" not in found.message


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = doctor.check_compiler()
    assert not found.ok and one_sentence(found.message) and "apt-get install gcc" in found.message


def test_a_compiler_that_cannot_compile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'fatal error: math.h: No such file' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.check_compiler()
    assert not found.ok and "math.h" in found.message and "libc6-dev" in found.message


def test_little_disk(tmp_path: Path) -> None:
    found = doctor.check_disk(tmp_path, need_gb=1e9)
    assert (
        not found.ok and one_sentence(found.message.replace("GB free", "")) and str(tmp_path) in found.message
    )


def test_a_bare_python_is_told_to_make_the_environment() -> None:
    """-S hides the environment's packages, as the system's Python lacks them."""
    command = [sys.executable, "-S", "-m", "aligncvc.workflow.doctor"]
    environment = {"PYTHONPATH": str(PROJECT_ROOT / "src"), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert result.returncode == 1 and "run `make env`" in result.stdout
    before = subprocess.run(
        [*command, "--before-install"], env=environment, text=True, capture_output=True, check=False
    )
    states = dict(line.split()[:2] for line in before.stdout.splitlines())
    assert before.returncode == ("PROBLEM" in states.values())
    del states["disk"]  # with the environment installed there may be no room for another
    needed = ("python", "platform", "venv", "compiler", "libraries")
    assert states == dict.fromkeys(needed, "ok"), before.stdout


def test_what_calls_the_doctor_from_outside_finds_it() -> None:
    """.ci/run and envs/install.py use it before anything is installed, where no type checker looks."""
    for path in (".ci/run", "envs/install.py"):
        named = re.findall(r"\bdoctor\.(\w+)", (PROJECT_ROOT / path).read_text(encoding="utf-8"))
        assert named and all(hasattr(doctor, name) for name in named), path
