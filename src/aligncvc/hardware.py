"""The machine in a line, without which timings mean nothing, and the peak memory of a piece of work."""

from __future__ import annotations

import os
import platform
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # planning and the tables ask for the machine without a device
    import torch


def hardware() -> str:
    """Such as "AMD EPYC 7B13, 2 cores, 2 threads, no GPU, torch 2.13.0"."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    counted = f"{cores} core{'s' * (cores != 1)}, {threads} thread{'s' * (threads != 1)}"
    return f"{_processor()}, {counted}, {gpu}, torch {torch.__version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()


class PeakMemory:
    """Peak memory in MB since construction: of the device on CUDA, of the process (resident) on CPU.

    Linux can restart the process' high-water mark; where it cannot, the mark since the start is reported.
    On a CPU, memory that was freed but kept by the process counts, and is used again without a rise.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        import torch

        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        """MB (2^20 bytes)."""
        if self.device.type == "cuda":
            import torch

            return torch.cuda.max_memory_allocated(self.device) / 2**20
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
