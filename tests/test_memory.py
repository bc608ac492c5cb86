"""Peak memory, in a process of its own: in this one a block may land in what earlier tests left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PEAKS = """
import torch
from aligncvc.memory import PeakMemory
memory = PeakMemory()
before = memory.read()
block = torch.ones(256 * 2**20 // 4)
during = memory.read()
del block
print(before, during, PeakMemory().read())
"""


def test_peak_memory_sees_an_allocation_and_starts_afresh() -> None:
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    before, during, afresh = map(float, done.stdout.split())
    assert before + 200 < during < before + 300
    if Path("/proc/self/clear_refs").exists():
        assert afresh < before + 100
