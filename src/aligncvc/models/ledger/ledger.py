"""The ledger: a typed list of every weight file the project knows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from aligncvc.errors import UserError
from aligncvc.files import PROJECT_ROOT, parse_yaml, read_text, write_text
from aligncvc.home import project_file
from aligncvc.section import Section, faults

DEFAULT_LEDGER = PROJECT_ROOT / "config/checkpoints.yaml"

_SOURCE = re.compile(
    r"file:(?P<file>.+)"
    r"|package:(?P<package>[A-Za-z_]\w*)/(?P<inside>.+)"
    r"|hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?:(?P<path>.+)"
)


PERMISSIVE_LICENCES = frozenset(
    ["Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "ISC", "MIT"]
)
"""Licences used without asking. Any other name, `unknown` included, must be accepted by name."""

_MEANINGS = {
    "AGPL-3.0": "whoever passes on the weights or a work based on them, or offers their use over a network, "
    "must give all recipients and users the complete corresponding source under the same licence",
    "unknown": "nobody has been granted the right to copy or use the file, so ask its authors first",
    "stable-video-diffusion-community": "research and non-commercial use are free, commercial use only up to "
    "the yearly revenue that it names, notices must be kept and its list of forbidden uses holds",
    "openrail": "uses that its annex names are forbidden, and the same restrictions must be handed on",
    "CC-BY-NC-4.0": "commercial use is not allowed, and the authors must be named",
    "CC-BY-NC-SA-4.0": "commercial use is not allowed, the authors must be named, and works based on it must "
    "be under the same licence",
    "Stability AI Non-Commercial Research Community License": "research and other non-commercial use only, "
    "not as a service for others; copies and models made from it must come with the agreement and its notice",
    "Stability AI Community License": "free for research, and for business up to a yearly revenue of one "
    "million US dollars; above that a licence must be bought from Stability AI",
}


def meaning(licence: str) -> str:
    """One clause that says what a licence that is not permissive asks of its user; no legal advice."""
    other = "its terms go beyond keeping the notice, so read them before you use the file"
    return _MEANINGS.get(licence, other)


class Stored(Section):
    """How the tensors of a file are named, where that differs from the network's own names.

    layout: dotted name of a function that puts a release's tensors under our names, applied first. prefix: of
    the keys that are meant. constants: last parts of keys without weights. renames: of parts of keys.
    """

    layout: str | None = Field(None, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")

    prefix: str = ""
    constants: list[str] = Field(default_factory=list)
    renames: Mapping[str, str] = Field(default_factory=dict)


class Entry(Section):
    """One weight file. See the head of config/checkpoints.yaml for the meaning of each key."""

    what: str
    source: str = Field(pattern=rf"^(?:{re.sub(r'[?]P<[a-z]+>', '?:', _SOURCE.pattern)})$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = Field(None, gt=0)
    licence: str
    made_by: str | None = None
    network: Mapping[str, Any] | None = None
    timesteps: list[int] | None = None
    stored: Stored = Stored()
    notes: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def parts(self) -> dict[str, str | None]:
        """The source taken apart: file | package, inside | repo, revision, path (others None)."""
        match = _SOURCE.fullmatch(self.source)
        assert match is not None, "the field's pattern has checked it"
        return match.groupdict()

    @property
    def kind(self) -> Literal["file", "package", "hub"]:
        return self.source.partition(":")[0]  # type: ignore[return-value]

    @property
    def revision(self) -> str | None:
        return self.parts["revision"]


class Group(Section):
    """Files that make up one published model, or variants of one file, under an id of their own."""

    what: str
    members: list[str] = Field(min_length=1)
    notes: Mapping[str, Any] = Field(default_factory=dict)


class Model(Section):
    """A generator or a reconstructor: what network it is, and whose weights each of its parts has."""

    what: str
    role: Literal["generators", "reconstructors"]
    network: Mapping[str, Any]
    weights: Mapping[str, str] = Field(default_factory=dict)
    notes: Mapping[str, Any] = Field(default_factory=dict)


class Ledger(Section):
    """The list of weight files, the models that they fill, and groups that are fetched together."""

    version: Literal[1]
    checkpoints: dict[str, Entry]
    models: dict[str, Model] = Field(default_factory=dict)
    groups: dict[str, Group] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _members_exist(self) -> Ledger:
        for name, group in self.groups.items():
            strangers = [member for member in group.members if member not in self.checkpoints]
            if strangers or name in self.checkpoints:
                raise ValueError(f"group {name}: {strangers or 'its id'} must be checkpoints of their own")
        for name, model in self.models.items():
            if strangers := [i for i in model.weights.values() if i not in self.checkpoints]:
                raise ValueError(f"model {name}: {', '.join(strangers)} must be checkpoints of their own")
        return self

    def entry(self, checkpoint_id: str) -> Entry:
        """The entry of an id. Raises UserError with the nearest known ids, or with a group's members."""
        if checkpoint_id in self.checkpoints:
            return self.checkpoints[checkpoint_id]
        if checkpoint_id in self.groups:
            members = ", ".join(self.groups[checkpoint_id].members)
            raise UserError(f"{checkpoint_id} stands for several checkpoints; choose one of {members}")
        hint = _hint(checkpoint_id, [*self.checkpoints, *self.groups], "known ids:", 3)
        raise UserError(f"the ledger knows no checkpoint {checkpoint_id!r}; {hint}")

    def model(self, name: str, role: str) -> Model:
        of_role = [n for n, model in self.models.items() if model.role == role]
        if name not in of_role:
            hint = _hint(name, of_role, "it has", 2)
            raise UserError(f"the ledger knows no model {name!r} among the {role}; {hint}")
        return self.models[name]

    def members(self, name: str) -> list[str]:
        """The checkpoints that an id stands for: a group's, a model's, or itself. UserError if unknown."""
        if name in self.groups:
            return list(self.groups[name].members)
        if name in self.models:
            return list(self.models[name].weights.values())
        self.entry(name)
        return [name]


def _hint(name: str, known: list[str], otherwise: str, count: int) -> str:
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"{otherwise} {', '.join(known)}"


def ledger_path(path: Path | str | None = None) -> Path:
    """None -> the project's ledger; a relative path counts from the project root, as in the configuration."""
    return DEFAULT_LEDGER if path is None else project_file(path)


def load_ledger(path: Path | str | None = None) -> Ledger:
    """The ledger; files that lie below its own folder are found there, wherever that is."""
    path = ledger_path(path)
    try:
        ledger = _parsed(read_text(path))
        return ledger if path == DEFAULT_LEDGER else _beside(path.parent.resolve(), ledger)
    except OSError as error:
        raise UserError(
            f"no ledger of checkpoints at {path} ({error.strerror}); give an existing one"
        ) from None
    except ValidationError as error:
        raise UserError(f"the ledger {path} is not valid: {faults(error)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"the ledger {path} is not YAML: {' '.join(str(error).split())}") from None


@lru_cache(maxsize=4)
def _parsed(text: str) -> Ledger:
    """Every weight of a pair asks for its ledger."""
    return Ledger.model_validate(parse_yaml(text))


def _beside(folder: Path, ledger: Ledger) -> Ledger:
    """The ledger with the `file:` sources that lie in its folder made absolute."""
    entries = {
        name: entry.model_copy(update={"source": f"file:{path}"})
        for name, entry in ledger.checkpoints.items()
        if entry.kind == "file" and (path := folder / str(entry.parts["file"])).is_file()
    }
    return ledger.model_copy(update={"checkpoints": ledger.checkpoints | entries})


def record(
    checkpoint_id: str,
    sha256: str,
    size: int,
    *,
    revision: str | None = None,
    path: Path | str | None = None,
    force: bool = False,
) -> None:
    """Write a checked file's hash, size and a hub entry's commit into the ledger; its comments stay.

    Raises UserError, unless force, if one of them is recorded already and differs.
    """
    path = ledger_path(path)
    entry = load_ledger(path).entry(checkpoint_id)
    given = {"sha256": (entry.sha256, sha256), "revision": (entry.revision, revision)}
    given["size"] = None if entry.bytes is None else f"{entry.bytes} bytes", f"{size} bytes"
    for what, (pinned, found) in given.items():
        if not force and None not in (pinned, found) and pinned != found:
            raise UserError(
                f"{path} pins {checkpoint_id} to {what} {pinned}, and the file has {found}; give the file "
                "that the ledger means, or replace what is recorded with --force"
            )
    changes = {"sha256": sha256, "bytes": str(size)}
    if revision is not None:
        if entry.kind != "hub":
            raise UserError(f"{checkpoint_id} comes from {entry.source}, which has no revision; leave it out")
        changes["source"] = f"hub:{entry.parts['repo']}@{revision}:{entry.parts['path']}"
    text = path.read_text(encoding="utf-8").rstrip() + "\n"
    block = re.search(rf"^  {re.escape(checkpoint_id)}:[ ]*\n(?:    .*\n|[ ]*\n)+", text, re.MULTILINE)
    if block is None:
        raise UserError(f"{path} does not write {checkpoint_id} as an indented block; edit it by hand")
    new = block.group()
    for key, value in changes.items():
        line = f"    {key}: {value}"
        new, count = re.subn(rf"^    {key}:.*$", line, new, flags=re.MULTILINE)
        new = new if count else f"{new.rstrip()}\n{line}\n"
    write_text(path, text[: block.start()] + new + text[block.end() :])
    load_ledger(path)
