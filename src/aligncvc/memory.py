"""Peak memory of a piece of work, on CUDA or on the CPU."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import torch


class PeakMemory:
    """Peak memory in MB since construction: of the device on CUDA, of the process (resident) on CPU.

    Linux can restart the process' high-water mark; where it cannot, the mark since the start is reported.
    On a CPU, memory that was freed but kept by the process counts, and is used again without a rise.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        """MB (2^20 bytes)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
