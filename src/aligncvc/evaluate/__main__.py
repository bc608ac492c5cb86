"""`python -m aligncvc.evaluate`: one method's samples against ground truth, as long-form records."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config import load_config
from aligncvc.errors import cli
from aligncvc.evaluate.records import protocol_file, write_records
from aligncvc.evaluate.score import evaluate_method
from aligncvc.files import sha256_file, write_json, write_provenance


@dataclass
class Evaluate:
    """Score one method's samples: PSNR, SSIM, LPIPS, foreground PSNR, the consistency curve, the cost."""

    sample: Path
    """Folder that `python -m aligncvc.sample` wrote."""
    renders: Path
    """manifest.tsv of the ground-truth renders."""
    out: Path
    """CSV of records to write; the protocol and the provenance are written beside it."""
    config: Path | None = None
    """Configuration; config/config.yaml if left out."""


def main() -> None:
    arguments = tyro.cli(Evaluate, prog="python -m aligncvc.evaluate")
    config = load_config(arguments.config)
    result = evaluate_method(config, arguments.sample, arguments.renders)
    for entry, reason in result.failures.items():
        print(f"failed: {entry}: {reason}", file=sys.stderr)
    for metric, facts in result.protocol["metrics"].items():
        if isinstance(facts, str):
            print(f"{metric}: {facts}", file=sys.stderr)
    write_json(protocol_file(arguments.out), result.protocol)
    write_provenance(
        arguments.out,
        inputs={
            "sample": sha256_file(arguments.sample / "manifest.json"),
            "renders": sha256_file(arguments.renders),
        },
        config=config.model_dump(mode="json"),
        seed=config.seed,
        failures=result.failures,
    )
    write_records(arguments.out, result.records)
    total = sum(record.metric == "failed" for record in result.records)
    print(
        f"{arguments.out}: {len(result.records)} records of {total - len(result.failures)} of {total} samples"
    )


if __name__ == "__main__":
    cli(main)
