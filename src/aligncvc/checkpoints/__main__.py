"""`python -m aligncvc.checkpoints {list,describe,verify,fetch,record,stamp,release}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from aligncvc.checkpoints.facts import Part, stamp
from aligncvc.checkpoints.ledger import Entry, Ledger, load_ledger, record
from aligncvc.checkpoints.licences import PERMISSIVE_LICENCES, meaning
from aligncvc.checkpoints.quirks import settled
from aligncvc.checkpoints.release import convert_release
from aligncvc.checkpoints.resolve import locate, resolve
from aligncvc.config import load_config
from aligncvc.errors import UserError, cli
from aligncvc.files import sha256_file


@dataclass
class _Common:
    ledger: Path | None = None
    """Another ledger than config/checkpoints.yaml."""

    @property
    def path(self) -> Path | None:
        return self.ledger.resolve() if self.ledger else None

    def load(self) -> Ledger:
        return load_ledger(self.path)


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
        for name in self.ids or (*ledger.groups, *ledger.checkpoints):
            print("\n".join(describe(ledger, name)))


@dataclass
class Verify(_Choice):
    """Check the bytes of the files that are on this machine; all ids given must be there."""

    def run(self) -> None:
        for name, entry in self.chosen().items():
            if not self.ids and _state(name, entry) != "here":
                print(f"{name}: skipped ({_state(name, entry)})")
                continue
            resolve(name, ledger=self.path, accept_licences=[entry.licence])
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
            print(resolve(name, ledger=self.path, offline=self.offline, accept_licences=self.accept_licence))


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
class Stamp:
    """Note in a weight file's header the settings of its network that shapes do not show."""

    file: Positional[Path] = tyro.MISSING
    """A safetensors file of this project; it is replaced, so its sha256 changes."""
    part: Part = tyro.MISSING
    """What it holds."""
    config: Path | None = None
    """The configuration that it was made with; config/config.yaml if left out."""
    half: bool = False
    """Also store it in float16, half the size."""

    def run(self) -> None:
        facts = stamp(self.file, settled(load_config(self.config)), self.part, half=self.half)
        print(f"{self.file}: {json.dumps(facts, sort_keys=True)}")


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
        for name in RELEASED:
            print(f"what {name} needs in the configuration: {load_ledger().entry(name).quirks.given()}")


RELEASED = ("aligncvc-lora", "aligncvc-system")


def describe(ledger: Ledger, name: str) -> list[str]:
    """Lines about a checkpoint, or about a group and each of its members. UserError for an unknown id."""
    group = ledger.groups.get(name)
    if group is not None:
        lines = [name, f"  what: {group.what}", *_network(group.network), *_facts(group.notes)]
        lines.append(f"  files: {', '.join(group.members)}")
        return [*lines, *(line for member in group.members for line in describe(ledger, member))]
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
        "  quirks:" if entry.quirks.given() else "  quirks: none",
        *(f"    {key}: {value}" for key, value in entry.quirks.given().items()),
        *_facts(entry.notes),
        f"  state: {_state(name, entry)}",
    ]


def _network(name: str | None) -> list[str]:
    if name is None:
        return ["  network: none of this project's"]
    from aligncvc.networks import outline  # the only command that needs the networks

    return [f"  network: {name}", *(f"    {part}" for part in outline(name))]


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
    | Annotated[Stamp, tyro.conf.subcommand("stamp")]
    | Annotated[Release, tyro.conf.subcommand("release")]
)


def main() -> None:
    tyro.cli(Command, prog="python -m aligncvc.checkpoints", description="The ledger of weights.").run()  # type: ignore[arg-type]


if __name__ == "__main__":
    cli(main)
