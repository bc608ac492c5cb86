"""Dependencies keep to themselves: no reports about who uses them, no files outside the checkout.

Imported by the package itself, so it runs before any other import. Standard library only. What the
environment says already stays as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from aligncvc.home import PROJECT_ROOT, writable_checkout

NO_REPORTS = {
    # Official builds of onnxruntime report to their maker, and keep a database below the home folder, unless
    # this is set before the first import.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and through it diffusers and transformers
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_MODE": "offline",  # runs stay on this machine; WANDB_MODE=online sends them
    "WANDB_ERROR_REPORTING": "false",
    "DO_NOT_TRACK": "1",  # whoever else heeds it
}

CACHES = {
    "MPLCONFIGDIR": "matplotlib",  # its list of fonts; a user's matplotlibrc would also change our figures
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",  # else a folder that stays in the temporary one
    "TORCH_EXTENSIONS_DIR": "torch_extensions",  # gsplat's kernels
    "WANDB_CACHE_DIR": "wandb",  # its own logs, offline too
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
}
"""Environment variable -> folder below `.cache` of the checkout. Without one that may be written, the
dependencies use the user's caches, as any installed package does."""


def keep_to_ourselves(root: Path = PROJECT_ROOT) -> None:
    """Set what is not set yet. root: the folder that is the checkout if it has a pyproject.toml."""
    for name, value in NO_REPORTS.items():
        os.environ.setdefault(name, value)
    if writable_checkout(root):
        for name, folder in CACHES.items():
            os.environ.setdefault(name, str(root / ".cache" / folder))
