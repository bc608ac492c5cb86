"""Every command while things go wrong: one sentence, nothing lost or half-written, and a rerun mends it.

Each test runs every command, or those it concerns, as a process of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from aligncvc.files import PROJECT_ROOT
from aligncvc.ownership import MARK
from aligncvc.unfinished import PREFIX

sys.path.extend(str(PROJECT_ROOT / "tests" / name) for name in ("align", "faults", "objects", "scale"))

from fault_commands import COMMANDS, MAKERS, Command, prepared
from fault_runs import Fault, Outcome, run
from fault_world import make_long_list, write_sharded, write_world
from object_server import Loopback

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*found in sys.modules")]

MOMENTS = int(os.environ.get("ALIGNCVC_MOMENTS", "1"))
"""Pairs of random moments, for each command, at which it is stopped."""
KINDS = ("MemoryError", "RecursionError", "IndexError")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Inputs of every command but what other commands make, and a server of the objects of a long list."""
    folder = tmp_path_factory.mktemp("faults")
    write_world(folder)
    with Loopback(make_long_list(folder)) as site:
        write_sharded(folder, site.url)
        yield folder


@pytest.fixture(autouse=True)
def _made_before(command: Command, world: Path) -> None:
    """What the program itself makes, for the first command that reads it."""
    for name in command.made:
        if not (world / name).exists():
            found = run(MAKERS[name].line, world, world / name)
            assert found.status == 0, found.said


@pytest.fixture(scope="module")
def sound(world: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A command's outputs and outcome with nothing wrong."""

    @cache
    def made(command: Command) -> tuple[Path, Outcome]:
        out = prepared(command, world, tmp_path_factory.mktemp("sound") / "out")
        outcome = run(command.line, world, out)
        assert outcome.status == 0, outcome.said
        return out, outcome

    return made


def names(out: Path) -> set[str]:
    return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and p.name != MARK}


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def unfinished(out: Path) -> list[str]:
    return [str(path) for path in out.rglob(f"{PREFIX}*")]


def require_sound(command: Command, out: Path, expected: Path) -> None:
    """All is there, nothing else, and what can be is the same to the byte."""
    assert names(out) == names(expected)
    fixed = [path for pattern in command.own.split() for path in expected.rglob(pattern)]
    assert fixed
    for path in fixed:
        assert (out / path.relative_to(expected)).read_bytes() == path.read_bytes(), path.name


def require_whole(command: Command, world: Path, out: Path, expected: Path) -> None:
    """What is there under a final name is complete."""
    for pattern in command.own.split():
        for path in out.rglob(pattern) if out.is_dir() else ():
            parts = path.relative_to(out).parts
            if "state" in parts or any(part.startswith(PREFIX) for part in parts):
                continue
            before = prepared(command, world, out.parent / "before") / path.relative_to(out)
            fine = {(expected / path.relative_to(out)).read_bytes()}
            fine |= {before.read_bytes()} if before.is_file() else set()
            assert path.read_bytes() in fine, path.name


def require_sentence(outcome: Outcome, *said: str, status: int = 2) -> None:
    """One sentence that says so ends what the command says, and no traceback is in it."""
    lines = outcome.said.strip().splitlines()
    assert outcome.status == status and "Traceback" not in outcome.said, outcome
    assert [line.startswith("error: ") for line in lines].count(True) == 1, outcome.said
    assert lines[-1].startswith("error: ") and any(part in lines[-1] for part in said), outcome.said


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_folder_that_may_not_be_written(command: Command, world: Path, tmp_path: Path, sound) -> None:
    """First the folder itself, before work; then all that an earlier run left in it."""
    out = prepared(command, world, tmp_path / "out")
    out.mkdir(exist_ok=True)
    before = names(out)
    out.chmod(0o555)
    require_sentence(run(command.line, world, out, Fault(humble=True)), str(out))
    assert names(out) == before
    out.chmod(0o755)
    out.rmdir() if not before else shutil.rmtree(out)
    shutil.copytree(sound(command)[0], out)
    folders = [out, *(path for path in out.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    outcome = run(command.line, world, out, Fault(humble=True))
    for path in folders:
        path.chmod(0o755)
    if command.final:  # nothing needs to be written
        assert outcome.status == 0, outcome.said
    else:
        require_sentence(outcome, str(out))
    require_sound(command, out, sound(command)[0])


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_disk_that_fills_up(command: Command, world: Path, tmp_path: Path, sound) -> None:
    """No byte can be written; then no file can be as large as the largest has to be."""
    expected = sound(command)[0]
    out = prepared(command, world, tmp_path / "out")
    written = names(expected) - {name for name in names(out) if same(out / name, expected / name)}
    largest = max((expected / name).stat().st_size for name in written)
    for limit in (0, int(0.9 * largest)):
        outcome = run(command.line, world, out, Fault(limit=limit))
        require_sentence(outcome, "nothing more can be written", "could not be written")
        assert not unfinished(out)
        require_whole(command, world, out, expected)
    assert run(command.line, world, out).status == 0
    require_sound(command, out, expected)


@pytest.mark.parametrize("command", [COMMANDS[i] for i in (0, 4, 8)], ids=str)
def test_a_small_file_system(command: Command, world: Path, tmp_path: Path, sound) -> None:
    """A real one, with room for half of the outputs."""
    expected, out = sound(command)[0], tmp_path / "out"
    out.mkdir()
    size = sum(path.stat().st_size for path in expected.rglob("*") if path.is_file())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={max(4096, size // 8192 * 4096)}", "none", str(out)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        prepared(command, world, out)
        with (out / "filled.log").open("wb") as handle:
            room = os.statvfs(out).f_bavail * os.statvfs(out).f_frsize
            handle.write(bytes(max(0, room - size // 2)))
        require_sentence(run(command.line, world, out), "No space left on device")
        assert not unfinished(out)
        require_whole(command, world, out, expected)
        (out / "filled.log").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
        assert run(command.line, world, out).status == 0
        require_sound(command, out, expected)
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_an_input_that_vanishes(command: Command, world: Path, tmp_path: Path, sound) -> None:
    """Just before it is opened. What needs it says so; where it is one item's, the others are made."""
    here = tmp_path / "world"
    shutil.copytree(world, here)
    for config in here.glob("*.yaml"):
        config.write_text(config.read_text().replace(str(world), str(here)))
    out = prepared(command, world, tmp_path / "out")
    outcome = run(command.line, here, out, Fault(vanishes=str(here / command.reads)))
    assert not (here / command.reads).exists(), "it was never opened"
    assert "Traceback" not in outcome.said and not unfinished(out)
    if outcome.status == 0:
        assert command.listed is not None and "not there" in (out / command.listed).read_text() + outcome.said
    else:
        require_sentence(outcome, Path(command.reads).name, str(Path(command.reads).parent))
    shutil.copyfile(world / command.reads, here / command.reads)
    if command.reads == "c.yaml":
        config = here / "c.yaml"
        config.write_text(config.read_text().replace(str(world), str(here)))
    assert run(command.line, here, out).status == 0
    require_sound(command, out, sound(command)[0])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.item], ids=str)
def test_one_item_that_raises(command: Command, world: Path, tmp_path: Path, sound) -> None:
    """It is listed with its reason and the others are as ever; where all are needed, a sentence says it."""
    assert command.item is not None
    attribute, item = command.item
    kind = KINDS[COMMANDS.index(command) % len(KINDS)]
    out = tmp_path / "out"
    outcome = run(command.line, world, out, Fault(raises=kind, attribute=attribute, item=item))
    reason = "more memory" if kind == "MemoryError" else kind
    if command.listed is None:
        require_sentence(outcome, reason)
        return
    assert outcome.status == 0 and "Traceback" not in outcome.said, outcome.said
    assert reason in (out / command.listed).read_text() + outcome.said
    for path in out.rglob("*.ply"):
        assert path.read_bytes() == (sound(command)[0] / path.relative_to(out)).read_bytes()
    if command.final:
        shutil.rmtree(out)
    assert run(command.line, world, out).status == 0
    require_sound(command, out, sound(command)[0])


@pytest.mark.parametrize("seed", range(MOMENTS))
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_signals_at_random_moments(command: Command, seed: int, world: Path, tmp_path: Path, sound) -> None:
    """SIGTERM and SIGKILL in either order, one in each half of the work; the third run makes the same bytes,
    and removes what SIGKILL left."""
    expected, outcome = sound(command)
    chance = random.Random(f"{command} {seed}")
    first = chance.randint(1, (outcome.operations + 1) // 2)
    moments = first, chance.randint(1, outcome.operations - first)  # so much is left to do
    out = prepared(command, world, tmp_path / "out")
    for number, at in zip(chance.sample([signal.SIGTERM, signal.SIGKILL], 2), moments, strict=True):
        left = unfinished(out)  # by SIGKILL, where it came first
        stopped = run(command.line, world, out, Fault(signal=number, at=at))
        if number == signal.SIGTERM:
            require_sentence(stopped, "stopped by a signal", status=128 + signal.SIGTERM)
            assert set(unfinished(out)) <= set(left)
        else:
            assert stopped.status == -signal.SIGKILL
        require_whole(command, world, out, expected)
    last = run(command.line, world, out)
    assert last.status == 0, last.said
    assert not unfinished(out)
    require_sound(command, out, expected)
