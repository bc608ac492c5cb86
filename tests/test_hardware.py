"""The machine in a line."""

from __future__ import annotations

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
