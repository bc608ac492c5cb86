"""`python -m aligncvc.checkpoints {list,describe,verify,fetch,record,release}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from aligncvc.errors import UserError, cli
from aligncvc.files import sha256_file
from aligncvc.models.ledger.ledger import (
    PERMISSIVE_LICENCES,
    Entry,
    Ledger,
    Model,
    load_ledger,
    meaning,
    record,
)
from aligncvc.models.ledger.release import convert_release
from aligncvc.models.ledger.resolve import locate, resolve
from aligncvc.models.specs import CheckpointAccess


@dataclass
class _Common:
    ledger: Path | None = None
    """Another ledger than config/checkpoints.yaml."""

    @property
    def path(self) -> Path | None:
        return self.ledger.resolve() if self.ledger else None

    def load(self) -> Ledger:
        return load_ledger(self.path)

    def access(self, **terms: Any) -> CheckpointAccess:
        """This ledger on these terms."""
        return CheckpointAccess(**({"ledger": str(self.path)} if self.path else {}), **terms)


@dataclass
class _Choice(_Common):
    ids: Positional[tuple[str, ...]] = ()
    """Checkpoints by id; none means all."""

    def chosen(self) -> dict[str, Entry]:
        """The entries asked for, a group's id standing for its members; all of them if none is named."""
        ledger = self.load()
        ids = [member for name in self.ids for member in ledger.members(name)]
        return {i: ledger.entry(i) for i in ids} if self.ids else dict(ledger.checkpoints)


@dataclass
class List(_Choice):
    """Print one line for each checkpoint."""

    def run(self) -> None:
        for name, entry in self.chosen().items():
            size = f"{entry.bytes / 1e6:8.1f} MB" if entry.bytes else "         ?  "
            print(f"{name:26} {size}  {entry.licence:13} {_state(name, entry):12}  {entry.source}")


@dataclass
class Describe(_Choice):
    """Print everything the ledger says, and the network's parameters and keys, built here without memory."""

    def run(self) -> None:
        ledger = self.load()
        for name in self.ids or (*ledger.models, *ledger.groups, *ledger.checkpoints):
            print("\n".join(describe(ledger, name)))


@dataclass
class Verify(_Choice):
    """Check the bytes of the files that are on this machine; all ids given must be there."""

    def run(self) -> None:
        for name, entry in self.chosen().items():
            if not self.ids and _state(name, entry) != "here":
                print(f"{name}: skipped ({_state(name, entry)})")
                continue
            resolve(name, self.access(accept_licences=[entry.licence]))
            print(f"{name}: ok")


@dataclass
class Fetch(_Choice):
    """Bring checkpoints onto this machine and verify them."""

    accept_licence: list[str] = field(default_factory=list)
    """Non-permissive licences accepted by name."""
    offline: bool = False
    """Never touch the network (also: ALIGNCVC_OFFLINE=1)."""

    def run(self) -> None:
        if not self.ids:
            raise UserError("say which checkpoints to fetch; `... checkpoints list` names them")
        for name in self.chosen():
            access = self.access(offline=self.offline, accept_licences=self.accept_licence)
            print(resolve(name, access))


@dataclass
class Record(_Common):
    """Write a checked file's sha256 and size (and a hub entry's commit) into the ledger."""

    id: Positional[str] = tyro.MISSING
    """The checkpoint."""
    file: Positional[Path] = tyro.MISSING
    """Its file, which you have checked."""
    revision: str | None = None
    """Commit of the hub repository the file was taken from."""
    force: bool = False
    """Replace what is recorded."""

    def run(self) -> None:
        if not self.file.is_file():
            raise UserError(f"{self.file} is not a file; give the checkpoint's file")
        digest = sha256_file(self.file)
        record(
            self.id,
            digest,
            self.file.stat().st_size,
            revision=self.revision,
            path=self.path,
            force=self.force,
        )
        print(f"{self.id}: {digest}")


@dataclass
class Release:
    """Convert AlignCVC's released checkpoints into the files of an alignment run."""

    folder: Positional[Path] = tyro.MISSING
    """Where the hub repository LaPetitRose/AlignCVC lies."""
    out: Path = tyro.MISSING
    """Folder of the run: results/align/NAME."""
    force: bool = False
    """Write into `out` even if it holds files of another origin, and replace those of the same name."""

    def run(self) -> None:
        for line in convert_release(self.folder, self.out, self.force):
            print(line)
        print("use them in a pair of the ledger's models wonder3d-aligncvc and lgm-aligncvc")


def describe(ledger: Ledger, name: str) -> list[str]:
    """Lines about a checkpoint, or a model or group and each of its files. UserError for an unknown id."""
    whole = ledger.models.get(name) or ledger.groups.get(name)
    if whole is not None:
        files = ledger.members(name)
        lines = [name, f"  what: {whole.what}", *_facts(whole.notes), f"  files: {', '.join(files)}"]
        if isinstance(whole, Model):
            lines.append(f"  network: {dict(whole.network)}")
            lines += [f"    {part}" for part in _model_parts(whole)]
        return [*lines, *(line for member in files for line in describe(ledger, member))]
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


def _model_parts(model: Model) -> list[object]:
    from aligncvc.models.outline import model_modules, outline

    return list(outline(lambda: model_modules(model)))


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


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Describe, tyro.conf.subcommand("describe")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    | Annotated[Record, tyro.conf.subcommand("record")]
    | Annotated[Release, tyro.conf.subcommand("release")]
)


def main() -> None:
    tyro.cli(Command, description="The ledger of weights.").run()  # type: ignore[arg-type]


if __name__ == "__main__":
    cli(main)
