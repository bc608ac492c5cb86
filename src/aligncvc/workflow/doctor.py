"""Is this machine ready? `python -m aligncvc.workflow.doctor` says what is missing, one sentence each.

Standard library only, and no module of this project beside `errors`: `make env` runs it with the system's
Python before anything is installed (`--before-install`), so it must also start on older Pythons.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
DISK_GB = 4.5
"""Free space `make env` needs with CPU torch: 3.3 GB of packages; pip's downloads made the peak 4.0 GB."""

BLENDER_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXxf86vm.so.1": "libxxf86vm1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libgomp.so.1": "libgomp1",
}
"""Shared libraries that the bpy wheel expects of the system (its `ldd`) -> the Debian package of each."""

PROGRAM = r"""
#include <math.h>
#include <pthread.h>
double probe(double x) { return sqrt(x) + (pthread_self() != 0); }
"""


class Finding(NamedTuple):
    """One check: what was looked at, whether it is well, and a sentence for the reader."""

    name: str
    ok: bool
    message: str


def checked(name: str, ok: bool, well: str, problem: str) -> Finding:
    """A finding that says one thing or the other."""
    return Finding(name, ok, well if ok else problem)


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Blender's wheel exists for Python 3.11 alone."""
    found = ".".join(map(str, version))
    problem = (
        f"Python 3.11 is needed (Blender's wheel exists for no other) and this is {found}; "
        "install it (Debian 12: `apt-get install python3.11 python3.11-venv`) or name it, as in "
        "`make PYTHON=/path/to/python3.11 env`."
    )
    return checked("python", tuple(version[:2]) == (3, 11), f"Python {found}", problem)


def check_platform() -> Finding:
    """The bpy wheel is built for 64-bit x86 Linux with glibc 2.28 or later."""
    system, machine = platform.system(), platform.machine()
    glibc = platform.libc_ver()[1] or "0"
    new_enough = tuple(int(part) for part in glibc.split(".")[:2]) >= (2, 28)
    ok = (system, machine) == ("Linux", "x86_64") and new_enough
    problem = (
        "Linux on x86_64 with glibc 2.28 or later is needed (Blender's wheel) and "
        f"this is {system} on {machine} with glibc {glibc}; use such a machine or a container of one."
    )
    return checked("platform", ok, f"Linux x86_64, glibc {glibc}", problem)


def check_venv() -> Finding:
    """`python -m venv` with pip inside, which Debian splits off into its own package."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    names, remedy = " and ".join(missing), "install them with `apt-get install python3.11-venv`"
    problem = f"Python's {names} modules are missing; {remedy}."
    return checked("venv", not missing, "virtual environments can be made", problem)


def check_compiler() -> Finding:
    """A C compiler with threads and the C library's headers: the CPU rasteriser is compiled at first use."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    remedy = "; install one with `apt-get install gcc libc6-dev`."
    if compiler is None:
        problem = f"No C compiler (cc or gcc) was found, and the CPU rasteriser needs one{remedy}"
        return Finding("compiler", False, problem)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text(PROGRAM)
        flags = ["-shared", "-fPIC", "-pthread"]
        command = [compiler, *flags, str(source), "-o", str(source.with_suffix(".so")), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    reason = (result.stderr.strip().splitlines() or ["no message"])[0]
    problem = f"{compiler} cannot compile a small program ({reason}){remedy}"
    return checked("compiler", result.returncode == 0, compiler, problem)


def check_disk(folder: Path = ROOT, need_gb: float = DISK_GB) -> Finding:
    """Room for the environment beside the checkout."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    problem = (
        f"{folder} has {free_gb:.1f} GB free and the environment needs {need_gb:g} GB; "
        "free some space or clone to a larger disk."
    )
    return checked("disk", free_gb >= need_gb, f"{free_gb:.0f} GB free", problem)


def missing_libraries(names: dict[str, str] = BLENDER_LIBRARIES) -> list[str]:
    """The Debian packages of those libraries that this system lacks."""
    packages = []
    for library, package in names.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            packages.append(package)
    return packages


def check_libraries(names: dict[str, str] = BLENDER_LIBRARIES) -> Finding:
    """The X, GL and OpenMP libraries that Blender links against even when it draws no window."""
    packages = missing_libraries(names)
    problem = (
        "Blender needs shared libraries that this system lacks; install them "
        f"with `apt-get install --no-install-recommends {' '.join(packages)}`."
    )
    return checked("libraries", not packages, f"Blender's {len(names)} shared libraries are there", problem)


def check_environment() -> Finding:
    """The interpreter that runs this is one that has the project's packages."""
    needed = ("torch", "diffusers", "peft", "bpy", "blenderproc", "lpips", "snakemake", "pydantic", "tyro")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    problem = f"{sys.executable} lacks {', '.join(missing)}; run `make env` and use `.venv/bin/python`."
    breaks = importlib.util.find_spec("torchvision") is not None and "torch" not in missing
    if breaks:
        problem = (
            f"torchvision is installed in {sys.prefix}, which breaks diffusers "
            "and peft beside CPU torch; run `python -m pip uninstall torchvision` or `make env`."
        )
    return checked("packages", not missing and not breaks, f"all in {sys.prefix}", problem)


def check_gpu() -> Finding:
    """A CUDA device is welcome, never required."""
    if shutil.which("nvidia-smi") is None:
        return Finding("gpu", True, "none: the demo runs on the CPU")
    result = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return Finding("gpu", True, result.stdout.strip().replace("\n", "; ") or "none answers")


def findings(before_install: bool) -> list[Finding]:
    """Every check that makes sense now, in the order in which a reader should mend things."""
    first = [check_python(), check_platform(), check_venv(), check_compiler(), check_libraries()]
    return [*first, check_disk()] if before_install else [*first, check_environment(), check_gpu()]


def main() -> None:
    """Print every check; exit with 1 if one fails."""
    typed = sys.argv[0] if sys.argv[0].startswith("aligncvc ") else "python -m aligncvc.workflow.doctor"
    parser = argparse.ArgumentParser(prog=typed, description=__doc__.splitlines()[0])
    parser.add_argument("--before-install", action="store_true", help="only what `make env` needs")
    found = findings(parser.parse_args().before_install)
    for finding in found:
        print(f"{finding.name:10} {'ok' if finding.ok else 'PROBLEM':8} {finding.message}")
    raise SystemExit(0 if all(finding.ok for finding in found) else 1)


if __name__ == "__main__":
    main()
