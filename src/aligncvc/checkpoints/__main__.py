"""`python -m aligncvc.checkpoints {list,describe,verify,fetch,record,release}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from aligncvc.errors import UserError, cli
from aligncvc.files import sha256_file
from aligncvc.models.ledger.ledger import PERMISSIVE_LICENCES, Entry, Ledger, Model, load_ledger, meaning
from aligncvc.models.ledger.ledger import record as record_in_ledger
from aligncvc.models.ledger.release import convert_release
from aligncvc.models.ledger.resolve import locate, resolve
from aligncvc.models.specs import CheckpointAccess

Ids = Annotated[Positional[tuple[str, ...]], tyro.conf.arg(help="Checkpoints by id; none means all.")]
Elsewhere = Annotated[Path | None, tyro.conf.arg(help="Another ledger than config/checkpoints.yaml.")]


def list_entries(ids: Ids = (), ledger: Elsewhere = None) -> None:
    """Print one line for each checkpoint."""
    for name, entry in _chosen(ids, ledger).items():
        size = f"{entry.bytes / 1e6:8.1f} MB" if entry.bytes else "         ?  "
        print(f"{name:26} {size}  {entry.licence:13} {_state(name, entry):12}  {entry.source}")


def describe(ids: Ids = (), ledger: Elsewhere = None) -> None:
    """Print everything the ledger says, and the network's parameters and keys, built here without memory."""
    known = load_ledger(_absolute(ledger))
    for name in ids or (*known.models, *known.groups, *known.checkpoints):
        print("\n".join(description(known, name)))


def verify(ids: Ids = (), ledger: Elsewhere = None) -> None:
    """Check the bytes of the files that are on this machine; all ids given must be there."""
    for name, entry in _chosen(ids, ledger).items():
        if not ids and _state(name, entry) != "here":
            print(f"{name}: skipped ({_state(name, entry)})")
            continue
        resolve(name, _access(ledger, accept_licences=[entry.licence]))
        print(f"{name}: ok")


def fetch(
    ids: Ids = (),
    ledger: Elsewhere = None,
    accept_licence: tuple[str, ...] = (),
    offline: bool = False,
) -> None:
    """Bring checkpoints onto this machine and verify them.

    Args:
        accept_licence: Non-permissive licences accepted by name.
        offline: Never touch the network (also: ALIGNCVC_OFFLINE=1).
    """
    if not ids:
        raise UserError("say which checkpoints to fetch; `... checkpoints list` names them")
    for name in _chosen(ids, ledger):
        print(resolve(name, _access(ledger, offline=offline, accept_licences=list(accept_licence))))


def record(
    id: Positional[str],
    file: Positional[Path],
    ledger: Elsewhere = None,
    revision: str | None = None,
    force: bool = False,
) -> None:
    """Write a checked file's sha256 and size (and a hub entry's commit) into the ledger.

    Args:
        id: The checkpoint.
        file: Its file, which you have checked.
        revision: Commit of the hub repository the file was taken from.
        force: Replace what is recorded.
    """
    if not file.is_file():
        raise UserError(f"{file} is not a file; give the checkpoint's file")
    digest, size, path = sha256_file(file), file.stat().st_size, _absolute(ledger)
    record_in_ledger(id, digest, size, revision=revision, path=path, force=force)
    print(f"{id}: {digest}")


def release(folder: Positional[Path], out: Path, force: bool = False) -> None:
    """Convert AlignCVC's released checkpoints into the files of an alignment run.

    Args:
        folder: Where the hub repository LaPetitRose/AlignCVC lies.
        out: Folder of the run: results/align/NAME.
        force: Write into `out` even if it holds files of another origin, and replace those of the same name.
    """
    for line in convert_release(folder, out, force):
        print(line)
    print("use them in a pair of the ledger's models wonder3d-aligncvc and lgm-aligncvc")


def _absolute(path: Path | None) -> Path | None:
    """On the command line a path is relative to the working folder."""
    return path.resolve() if path else None


def _access(ledger: Path | None, **terms: Any) -> CheckpointAccess:
    """A ledger on these terms."""
    return CheckpointAccess(**({"ledger": str(ledger.resolve())} if ledger else {}), **terms)


def _chosen(ids: tuple[str, ...], path: Path | None) -> dict[str, Entry]:
    """The entries asked for, a group's id standing for its members; all of them if none is named."""
    ledger = load_ledger(_absolute(path))
    members = [member for name in ids for member in ledger.members(name)]
    return {i: ledger.entry(i) for i in members} if ids else dict(ledger.checkpoints)


def description(ledger: Ledger, name: str) -> list[str]:
    """Lines about a checkpoint, or a model or group and each of its files. UserError for an unknown id."""
    whole = ledger.models.get(name) or ledger.groups.get(name)
    if whole is not None:
        files = ledger.members(name)
        lines = [name, f"  what: {whole.what}", *_facts(whole.notes), f"  files: {', '.join(files)}"]
        if isinstance(whole, Model):
            lines.append(f"  network: {dict(whole.network)}")
            from aligncvc.models.outline import model_modules, outline

            lines += [f"    {part}" for part in outline(lambda: model_modules(whole))]
        return [*lines, *(line for member in files for line in description(ledger, member))]
    entry = ledger.entry(name)
    permissive = entry.licence in PERMISSIVE_LICENCES
    terms = "used without asking" if permissive else f"must be accepted by name: {meaning(entry.licence)}"
    made = [f"  made_by: {entry.made_by}"] if entry.made_by else []
    return [
        name,
        f"  what: {entry.what}",
        f"  source: {entry.source}",
        *([] if entry.kind != "hub" else [f"  revision: {entry.revision or 'not recorded'}"]),
        f"  sha256: {entry.sha256 or 'not recorded'}",
        f"  bytes: {entry.bytes or 'not recorded'}",
        f"  licence: {entry.licence} ({terms})",
        *made,
        *_network(entry.network),
        *([f"  timesteps: {entry.timesteps}"] if entry.timesteps else []),
        *(f"  stored: {key}: {value}" for key, value in entry.stored.model_dump().items() if value),
        *_facts(entry.notes),
        f"  state: {_state(name, entry)}",
    ]


def _network(network: Mapping[str, Any] | None) -> list[str]:
    if network is None:
        return []
    from aligncvc.models.outline import encoder_outline  # torch loads only where networks are built

    return [f"  network: {dict(network)}", *(f"    {part}" for part in encoder_outline(network))]


def _facts(notes: Mapping[str, object]) -> list[str]:
    return [f"  {key}: {value}" for key, value in notes.items()]


def _state(name: str, entry: Entry) -> str:
    """here | missing | not recorded."""
    if entry.sha256 is None:
        return "not recorded"
    try:
        locate(name, entry, offline=True)
    except UserError:
        return "missing"
    return "here"


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_entries,
    **{command.__name__: command for command in (describe, verify, fetch, record, release)},
}


def main() -> None:
    tyro.extras.subcommand_cli_from_dict(
        COMMANDS, description="The ledger of weights.", sort_subcommands=False
    )


if __name__ == "__main__":
    cli(main)
