"""What a command costs as a process of its own: seconds, seconds of CPU, peak memory, what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT

# The kernel counts the memory of the process that starts another as the other's too. So a process that is
# next to nothing starts it: below torch, every peak would be torch's.
STARTER = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - began
facts = [os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]
with open(sys.argv[1], "w") as told:
    json.dump(facts, told)
"""


@dataclass(frozen=True)
class Cost:
    """Of one command and all that it started and waited for.

    seconds: by the clock; cpu_seconds: of all processes; peak_mb: resident memory of the largest of them, MB
    of 2^20 bytes. said: its output, errors included.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    said: str

    def by(self, clock: str) -> float:
        """Seconds by the clock that `--clock` names: wall or cpu."""
        return self.seconds if clock == "wall" else self.cpu_seconds


def command_cost(words: Sequence[str | Path], what: str) -> Cost:
    """Run `python` with these words at the project's root, with this package.

    Raises UserError if it fails, with `what` was measured and the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="aligncvc-cost-") as name:
        told, said = Path(name, "told"), Path(name, "said")
        command = [sys.executable, "-I", "-S", "-c", STARTER, told, sys.executable, *words]
        variables = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "src")}
        with said.open("w") as output:
            subprocess.run(
                list(map(str, command)),
                cwd=PROJECT_ROOT,
                env=variables,
                stdout=output,
                stderr=output,
                check=True,
            )
        code, seconds, cpu_seconds, peak_mb = json.loads(told.read_text())
        text = said.read_text(encoding="utf-8", errors="replace")
    if code:
        raise UserError(f"{what} failed while it was measured: {' '.join(text[-600:].split())}")
    return Cost(seconds, cpu_seconds, peak_mb, text)
