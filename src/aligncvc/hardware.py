"""The machine in a line: timings mean nothing without it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def hardware() -> str:
    """Processor, cores that this process may use, torch threads, GPU if there is one, torch's version.

    Such as "AMD EPYC 7B13, 2 cores, 2 threads, no GPU, torch 2.13.0".
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{_processor()}, {cores} core{'s' * (cores != 1)}, {threads} thread{'s' * (threads != 1)}, {gpu}, "
        f"torch {torch.__version__}"
    )


def _processor() -> str:
    """The processor's name as the kernel knows it, else the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()
