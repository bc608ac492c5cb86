"""`python -m aligncvc.evaluate`: samples or predictions against ground truth, as long-form records."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from aligncvc.config import Config, load_config
from aligncvc.errors import UserError, cli
from aligncvc.evaluate.predictions import prediction_entries
from aligncvc.evaluate.protocol import require_supported
from aligncvc.evaluate.records import protocol_file, record_files, write_records
from aligncvc.evaluate.score import Entry, Evaluation, Truth, evaluate, sample_entries
from aligncvc.evaluate.tools import load_tools
from aligncvc.files import sha256_file, write_json, write_provenance
from aligncvc.ownership import claim_files


@dataclass
class Evaluate:
    """Score samples of one method, or predictions of any, by the configuration's protocol.

    Our own:  python -m aligncvc.evaluate --sample results/sample/aligncvc_4 --out results/metrics/x.csv
    Others':  python -m aligncvc.evaluate pred/mymethod --out results/metrics/mymethod.csv
    """

    pred: tyro.conf.Positional[Path | None] = None
    """pred/<method> or pred/<method>/<object>: predictions of others (docs/evaluating-your-method.md)."""
    sample: Path | None = None
    """Folder that `python -m aligncvc.sample` wrote."""
    renders: Path = Path("results/renders/eval/manifest.tsv")
    """Manifest of the ground-truth renders."""
    objects: Path | None = Path("results/objects/eval/manifest.tsv")
    """Manifest of the objects, whose meshes are the truth of geometry; without it there is none."""
    out: Path | None = None
    """CSV of records (default results/metrics/<protocol>/<method>.csv); the protocol is written beside it."""
    config: Path | None = None
    """Configuration; config/config.yaml if left out."""
    force: bool = False
    """Replace files of another origin where the results go."""


def main() -> None:
    arguments = tyro.cli(Evaluate, prog="python -m aligncvc.evaluate")
    config = load_config(arguments.config)
    require_supported(config.protocol)
    truth = Truth(config.protocol, arguments.renders, _existing(arguments.objects))
    method, pair, entries, inputs = _what_to_score(arguments, config, truth)
    name = method.replace(":", "-")
    out = arguments.out or Path("results/metrics") / config.protocol.slug / f"{name}.csv"
    claim_files(record_files(out), inputs=[arguments.renders], force=arguments.force)
    tools = load_tools(config, config.protocol, curves=method in config.evaluate.curves)
    dataset = arguments.renders.resolve().parent.name
    found = evaluate(method, pair, dataset, entries, truth, tools)
    _report(found)
    write_json(protocol_file(out), found.facts)
    write_provenance(
        out,
        inputs={**inputs, "renders": sha256_file(arguments.renders)},
        config=config.model_dump(mode="json"),
        seed=config.seed,
        failures=found.failures,
    )
    write_records(out, found.records)
    scored = len(entries) - len(found.failures)
    print(f"{out}: {len(found.records)} records of {scored} of {len(entries)} samples")


def _what_to_score(
    arguments: Evaluate, config: Config, truth: Truth
) -> tuple[str, str, list[Entry], dict[str, str]]:
    """Method, pair, entries, and hashes of what they come from."""
    if (arguments.pred is None) == (arguments.sample is None):
        raise UserError("give either pred/<method> or --sample with a folder that aligncvc.sample wrote")
    if arguments.sample is not None:
        method, entries = sample_entries(arguments.sample, truth)
        return method, config.pair, entries, {"sample": sha256_file(arguments.sample / "manifest.json")}
    assert arguments.pred is not None
    method, entries = prediction_entries(arguments.pred, truth, config.sample.methods)
    files = sorted(path for path in arguments.pred.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(arguments.pred)): sha256_file(path) for path in files}
    return method, "elsewhere", entries, hashes


def _existing(manifest: Path | None) -> Path | None:
    """None for the default manifest that is not there; a path that was given must be there."""
    if manifest is None or manifest.is_file():
        return manifest
    if manifest == Path("results/objects/eval/manifest.tsv"):
        return None
    raise UserError(f"no objects manifest at {manifest}; make it with python -m aligncvc.objects")


def _report(found: Evaluation) -> None:
    for entry, reason in found.failures.items():
        print(f"failed: {entry}: {reason}", file=sys.stderr)
    for metric, reason in found.facts["unavailable"].items():
        print(f"{metric}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    cli(main)
