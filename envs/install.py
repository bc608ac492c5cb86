"""Make `.venv` in the checkout from the pins in this folder: `python3.11 envs/install.py` (`make env`).

Standard library only. A second run is instant; changed pins make the environment anew.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "pins.sha256"
COMMAND = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -m aligncvc "$@"
"""
PINS = ("lock.txt",)

sys.path.insert(0, str(ROOT / "src"))

from aligncvc.workflow import doctor  # noqa: E402  (the checkout is not installed yet)


def digest() -> str:
    """SHA-256 of the pins and of the Python version."""
    content = [platform.python_version().encode(), *((ROOT / "envs" / name).read_bytes() for name in PINS)]
    return hashlib.sha256(b"\0".join(content)).hexdigest()


def stop(sentence: str) -> None:
    """End with one sentence on standard error."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def call(doing: str, *command: str) -> None:
    """Run one step of the installation, or end with a sentence that names it."""
    # A PYTHONPATH of the user's must not decide what pip believes to be installed already.
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    print(f"make env: {doing}", flush=True)
    if subprocess.run(command, env=environment, check=False).returncode:
        stop(
            f"{doing} failed (the lines above say why); check the network, the proxy settings of pip and the "
            "free disk space, and run `make env` again."
        )


def locked_wheel(folder: Path, lock: str) -> Path:
    """The one file of a folder, or the end with a sentence unless the lock has its hash."""
    (wheel,) = folder.iterdir()
    with wheel.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if f"sha256:{found}" not in lock:
        stop(
            f"{wheel.name} has the sha256 {found}, which envs/lock.txt does not list; check where pip takes "
            "packages from (pip config list)"
        )
    return wheel


def main() -> None:
    """Install unless the stamp says that it is done."""
    wanted = digest()
    if STAMP.exists() and STAMP.read_text().strip() == wanted:
        return
    sentences = [found.message for found in doctor.findings(before_install=True) if not found.ok]
    if sentences:
        stop("\nerror: ".join(sentences))
    python = str(VENV / "bin/python")
    # Nothing is left outside the checkout, and what the disk must hold does not depend on pip's cache.
    flags = ("--disable-pip-version-check", "--no-input", "--no-cache-dir", "--quiet")
    pip = (python, "-m", "pip", "install", *flags)
    envs = str(ROOT / "envs")
    call("making .venv", sys.executable, "-m", "venv", "--clear", str(VENV))
    with tempfile.TemporaryDirectory(dir=VENV) as folder:
        # With --require-hashes pip prefers files whose address names their hash: an index's CUDA build to the
        # CPU torch of a folder. So torch is chosen without, and checked here.
        download = (python, "-m", "pip", "download", *flags, "--no-deps", "-d", folder)
        call("fetching torch", *download, "torch", "-c", f"{envs}/constraints.txt")
        wheel = locked_wheel(Path(folder), (ROOT / "envs/lock.txt").read_text())
        call("installing torch", *pip, "--no-deps", str(wheel))
    call(
        "installing the locked packages (about 1 GB to download with CPU torch, a minute or two)",
        *pip,
        "--no-deps",
        "--require-hashes",
        "-r",
        f"{envs}/lock.txt",
    )
    # A CUDA build of torch comes with libraries that the CPU's, and so the lock, does not have.
    call("adding what this machine's build of torch needs", *pip, "torch", "-c", f"{envs}/constraints.txt")
    site = next((VENV / "lib").glob("python3.*")) / "site-packages"
    # The checkout itself: a path file is all an editable install is, and it needs no build tools. Relative,
    # so that the folder can be moved.
    (site / "aligncvc.pth").write_text(os.path.relpath(ROOT / "src", site) + "\n")
    command = VENV / "bin/aligncvc"
    command.write_text(COMMAND)
    command.chmod(0o755)
    call("checking the result", python, "-m", "aligncvc.workflow.doctor")
    STAMP.write_text(wanted + "\n")


if __name__ == "__main__":
    main()
