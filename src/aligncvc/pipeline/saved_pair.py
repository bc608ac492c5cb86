"""A pair with its method as a folder: config.json, checkpoints.yaml, the trained weights, a model card.

The folder's ledger lists what the pair is made of. Weights of this repository and of one's own runs lie in
the folder; published weights are named by repository, commit and hash, and stay where their licence is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from aligncvc.config.jobs.sample import PhotoJob, SampleJob
from aligncvc.errors import UserError
from aligncvc.files import atomic_path, sha256_file, write_text
from aligncvc.models.ledger.ledger import PERMISSIVE_LICENCES, Entry, Ledger, load_ledger
from aligncvc.models.ledger.resolve import resolve
from aligncvc.models.pair import RECON_FILE, STUDENT_FILE, Aligned
from aligncvc.models.specs import CheckpointAccess, ModelSpec, RunWeights

CONFIG = "config.json"
LEDGER = "checkpoints.yaml"
STUDENT, RECON = "aligned-student", "aligned-recon"
"""Ledger ids of the weights of one's own alignment run."""


def pair_ids(job: SampleJob) -> list[str]:
    """Ledger ids of the pair's weights, those of a finished alignment run among them."""
    aligned = [] if job.aligned is None else [job.aligned.student, job.aligned.recon]
    return [*job.pair.generator.weights.values(), *job.pair.reconstructor.weights.values(), *aligned]


def licence_of(ledger: Ledger, ids: list[str]) -> str:
    """The licence of what is made of these weights: the first that is not permissive, else Apache-2.0."""
    licences = [ledger.entry(name).licence for name in ids]
    return next((name for name in licences if name not in PERMISSIVE_LICENCES), "Apache-2.0")


def save_pair(job: PhotoJob, folder: Path, aligned: Path | None = None, licence: str | None = None) -> Ledger:
    """Write all but the card; returns the folder's ledger.

    aligned: folder of the method's alignment run, if its weights are not in the job's ledger.
    licence: of the run's weights; None: that of the weights that they were trained from (`licence_of`).
    """
    known, method = load_ledger(job.checkpoints.ledger), job.sample
    entries = {name: known.entry(name) for name in dict.fromkeys([*pair_ids(method), *job.weights])}
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(pair_ids(method)):
        if entries[name].kind == "file":
            source = resolve(name, job.checkpoints)
            entries[name] = _carried(source, folder / f"{name}{source.suffix}", entries[name])
    if aligned is not None and method.run is not None and method.aligned is None:
        run, terms = Aligned.in_folder(aligned), licence or licence_of(known, pair_ids(method))
        for name, path, file in ((STUDENT, run.student, STUDENT_FILE), (RECON, run.recon, RECON_FILE)):
            said = f"weights of the alignment run {method.run} of {method.pair.name}"
            entry = Entry(what=said, source=f"file:{file}", licence=terms)
            entries[name] = _carried(Path(path), folder / file, entry)
        method = method.model_copy(update={"aligned": RunWeights(student=STUDENT, recon=RECON)})
    ledger = Ledger(version=1, checkpoints=entries)
    access = CheckpointAccess(ledger=LEDGER)
    weights = {name: entry.sha256 for name, entry in entries.items()}
    common = {"checkpoints": access, "weights": weights}
    job = job.model_copy(update={**common, "sample": method.model_copy(update=common)})
    write_text(folder / CONFIG, job.text)
    content = ledger.model_dump(mode="json", exclude_defaults=True)
    write_text(folder / LEDGER, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))
    return ledger


def read_pair(folder: Path, access: CheckpointAccess, trust_code: bool = False) -> PhotoJob:
    """The settings of a saved pair, with the folder's ledger. access: whether to fetch, and on which terms.

    Raises UserError if the folder holds none, or if it names code that is not this package's, unless
    trust_code.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / LEDGER).is_file():
        raise UserError(
            f"{folder} holds no saved pair ({CONFIG} and {LEDGER}); save one with `aligncvc pipeline save`"
        )
    job = PhotoJob.read(path)
    ledger = folder.resolve() / LEDGER
    strangers = [] if trust_code else sorted(set(_foreign_code(job.sample, load_ledger(ledger))))
    if strangers:
        raise UserError(
            f"the pair in {folder} runs code of {', '.join(strangers)}, which is not this package's; read "
            "that code, and then load the pair with trust_code=True"
        )
    mine: dict[str, Any] = {"checkpoints": access.model_copy(update={"ledger": str(ledger)})}
    return job.model_copy(update={**mine, "sample": job.sample.model_copy(update=mine)})


def _carried(source: Path, target: Path, entry: Entry) -> Entry:
    """Copy a file into the folder; its entry, which now names it there."""
    if source.resolve() != target.resolve():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    facts = {"sha256": sha256_file(target), "bytes": target.stat().st_size}
    return entry.model_copy(update={"source": f"file:{target.name}", **facts})


def _foreign_code(job: SampleJob, ledger: Ledger) -> Iterator[str]:
    """Dotted names that would be imported and are not this package's."""
    models: tuple[ModelSpec, ...] = (job.pair.generator, job.pair.reconstructor)
    layouts = (entry.stored.layout for entry in ledger.checkpoints.values())
    for name in (job.feedback, *(model.kind for model in models), *layouts):
        if name is not None and "." in name and not name.startswith("aligncvc."):
            yield name
