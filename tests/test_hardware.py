"""The machine in a line; peak memory, in a process of its own: here a block may land where one was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from aligncvc.hardware import hardware


def test_the_line_says_what_timings_hang_on() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert ", 1 thread, " in hardware()
        torch.set_num_threads(2)
        text = hardware()
    finally:
        torch.set_num_threads(before)
    assert ", 2 threads, " in text and f"torch {torch.__version__}" in text and " core" in text
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    assert gpu in text and "\n" not in text and not text.startswith(",")


PEAKS = """
import torch
from aligncvc.hardware import PeakMemory
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
