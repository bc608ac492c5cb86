"""`python -m aligncvc.align`: one alignment run of one pair, from renders to aligned weights."""

from __future__ import annotations

from pathlib import Path

import tyro

from aligncvc.config.jobs.align import AlignJob
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan
from aligncvc.errors import UserError, cli


def align(
    renders: Path,
    out: Path,
    settings: Path | None = None,
    config: Path | None = None,
    changes: Changes = (),
    pair: str | None = None,
    run: str | None = None,
    code: str = "",
    force: bool = False,
    readers: int = 0,
) -> None:
    """Post-train the generator (LoRA) and the reconstructor.

    A run that was stopped continues from its last state in `<out>/state/`, if nothing of it has changed.

    Args:
        renders: manifest of the training renders.
        out: folder for student.safetensors, recon.safetensors and metrics.jsonl.
        settings: the job's settings, which snakemake writes, instead of --config, --pair and --run.
        config: configuration file; config/config.yaml if left out.
        pair: a key of pairs; the first if left out.
        run: a key of align.runs: which losses are on.
        code: fingerprint of the job's code, which snakemake gives: a state of other code is not continued.
        force: write into `out` even if it holds files of another origin, and replace those of the same name.
        readers: processes that read renders ahead, for sets on slow disks; they change no number.
    """
    if (settings is None) == (run is None):
        raise UserError("give --run, a key of align.runs, or --settings with a file that snakemake wrote")
    if settings is not None:
        job = AlignJob.read(settings, changes)
    else:
        plan = Plan.read(config, changes)
        job = plan.align(pair or next(iter(plan.config.pairs)), str(run))
    from aligncvc.align.train import train  # torch and diffusers load only when there is work

    train(job, renders, out, code, force, readers)


COMMAND = align


def main() -> None:
    tyro.cli(COMMAND)


if __name__ == "__main__":
    cli(main)
