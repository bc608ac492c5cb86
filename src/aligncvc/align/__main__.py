"""`python -m aligncvc.align`: one alignment run from renders to aligned weights."""

from __future__ import annotations

from pathlib import Path

import tyro

from aligncvc.config import load_config
from aligncvc.errors import cli


def align(run: str, renders: Path, out: Path, config: Path | None = None, force: bool = False) -> None:
    """Post-train the generator (LoRA) and the reconstructor.

    A run that was stopped continues from its last state in `<out>/state/`.

    Args:
        run: a key of align.runs: which losses are on.
        renders: manifest of the training renders.
        out: folder for student.safetensors, recon.safetensors and metrics.jsonl.
        config: configuration file; config/config.yaml if left out.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    settings = load_config(config)
    from aligncvc.align.train import train  # torch and diffusers load only when there is work

    train(settings, run, renders, out, force)


if __name__ == "__main__":
    cli(lambda: tyro.cli(align))
