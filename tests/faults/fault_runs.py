"""Commands in forked processes in which one thing goes wrong, at a chosen operation on files.

Operations are counted with Python's audit events, so that a seed names the same moment on every machine. One
server process imports torch once; each run is a fork of it. A stand-in takes Blender's place.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "aligncvc.align.train",
        "aligncvc.evaluate.score",
        "aligncvc.evaluate.renderings",
        "aligncvc.models.generators.wonder3d.network",
        "aligncvc.models.reconstructors.lgm.network",
        "aligncvc.objects.fetch",
        "aligncvc.paper.figures",
        "aligncvc.paper.tables",
        "aligncvc.pipeline.pipeline",
        "aligncvc.render.gather",
        "aligncvc.render.run",
        "aligncvc.render.shard",
        "aligncvc.sample.photo",
        "aligncvc.sample.sets",
        # which commands import only when they need them, and take seconds
        "diffusers.models.embeddings",
        "matplotlib.backends.backend_pdf",
        "matplotlib.pyplot",
        "pandas",
        "peft",
        "tyro",
    ]
)
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
PATIENCE = 600.0
"""Seconds that one run may take."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a run.

    signal, at: the process sends itself this signal at its at-th operation that changes something below
        `out`.
    limit: no file may become larger, in bytes. humble: without root's right to write everywhere.
    vanishes: the input removed just before the process opens it.
    raises, attribute, item: a function, as module:name, that raises this kind of error if `item` is in the
        text of its arguments.
    """

    signal: int | None = None
    at: int = 0
    limit: int | None = None
    humble: bool = False
    vanishes: str | None = None
    raises: str | None = None
    attribute: str = ""
    item: str = ""


@dataclass(frozen=True)
class Outcome:
    """status: of the process, -N if signal N ended it. said: its standard error. operations: on `out`."""

    status: int
    said: str
    operations: int


def run(line: str, world: Path, out: Path, fault: Fault = Fault()) -> Outcome:
    """Run `python -m aligncvc.<line>`; {w} and {o} in it are the inputs and the folder of outputs."""
    module, *arguments = line.format(w=world, o=out).split()
    reader, writer = os.pipe()
    counted = CONTEXT.Value("i", 0)
    process = CONTEXT.Process(target=_child, args=(module, arguments, out, fault, _Sent(writer), counted))
    process.start()
    os.close(writer)
    said = bytearray()
    deadline = time.monotonic() + PATIENCE
    while chunk := os.read(reader, 1 << 16):
        said += chunk
        if time.monotonic() > deadline:
            process.kill()
    os.close(reader)
    process.join()
    assert process.exitcode is not None
    return Outcome(process.exitcode, said.decode(errors="replace"), counted.value)


class _Sent:
    """A file descriptor that travels to the child."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from multiprocessing.reduction import DupFd

        return _Sent._received, (DupFd(self.descriptor),)

    @staticmethod
    def _received(sent: Any) -> _Sent:
        return _Sent(sent.detach())


def _child(module: str, arguments: list[str], out: Path, fault: Fault, pipe: _Sent, counted: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(pipe.descriptor, 2)
    os.close(pipe.descriptor)
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    _stand_in()
    if fault.raises:
        _break(fault)
    sys.addaudithook(_hook(str(out), fault, counted))
    if fault.limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.limit, fault.limit))
    if fault.humble:
        _drop_capabilities()
    sys.argv = [module, *arguments]
    runpy.run_module(f"aligncvc.{module}", run_name="__main__", alter_sys=True)


def _hook(out: str, fault: Fault, counted: Any) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that counts what changes something below `out`, and strikes."""

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event != "open" and event not in WRITES:
            return
        path = os.fsdecode(given[0]) if isinstance(given[0], (str, bytes, os.PathLike)) else ""
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            if fault.vanishes is not None and path == fault.vanishes and os.path.lexists(path):
                os.unlink(path)  # noqa: PTH108
            return
        if not path.startswith(out):
            return
        counted.value += 1
        if fault.signal is not None and counted.value == fault.at:
            os.kill(os.getpid(), fault.signal)

    return hook


def _stand_in() -> None:
    """Boxes in Blender's place, and no proxy before a server of this machine."""
    from aligncvc.render import workers

    workers.SCENE = "scene_stand_in"
    here = str(Path(__file__).resolve().parents[1] / "scale")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    os.environ |= dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")


def _break(fault: Fault) -> None:
    from importlib import import_module

    place, name = fault.attribute.split(":")
    module = import_module(place)
    sound = getattr(module, name)

    def broken(*given: Any, **named: Any) -> Any:
        if fault.item in repr(given):
            raise_error(str(fault.raises))
        return sound(*given, **named)

    setattr(module, name, broken)


def raise_error(kind: str) -> None:
    """Raise an error of this kind as Python, numpy and C extensions do."""
    import numpy as np

    if kind == "MemoryError":
        np.empty(1 << 60, np.uint8)
    elif kind == "RecursionError":
        raise_error(kind)
    elif kind == "IndexError":
        np.zeros(3)[np.array([5])]
    raise AssertionError(f"{kind} did not come")


def _drop_capabilities() -> None:
    """Without capabilities root meets the permissions of files like anybody else."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")
