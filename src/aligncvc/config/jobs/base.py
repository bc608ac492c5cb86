"""The base of all jobs: read, written and hashed as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError

from aligncvc.errors import UserError
from aligncvc.files import sha256_json, write_text
from aligncvc.models.specs import CheckpointAccess
from aligncvc.section import Section, faults


class Job(Section):
    """Everything that one job depends on beside its input files."""

    aside: ClassVar[dict[str, Any]] = {}
    """Settings that change nothing of what is made, as pydantic's `exclude` takes them."""

    seed: int = Field(0, description="root of every random stream")

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change when, and only when, a setting does that is not `aside`."""
        return sha256_json(self.model_dump(mode="json", exclude=self.aside))[:16]

    @property
    def text(self) -> str:
        """The file's content: indented JSON with sorted keys."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"

    def write(self, path: Path | str) -> None:
        """Write the settings unless the file holds them already: its time says when they changed."""
        path = Path(path)
        if not (path.is_file() and path.read_text(encoding="utf-8") == self.text):
            write_text(path, self.text)

    @classmethod
    def read(cls, path: Path | str, changes: Sequence[str] = ()) -> Self:
        """Read a settings file. UserError if it is none of this kind, or if --set was given (`changes`)."""
        if changes:
            raise UserError(f"--set changes a configuration and {path} is made of one; give --config instead")
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"no settings can be read from {path} ({error}); snakemake writes them to results/settings/, "
                "or give --config instead"
            ) from None
        except ValidationError as error:
            raise UserError(
                f"{path} is no settings file of this stage: {faults(error)}; snakemake writes them to "
                "results/settings/, or give --config instead"
            ) from None


class NetworkJob(Job):
    """A job that loads weights. weights: sha256 by ledger id of every file that it may load.

    The hashes make a job stale when the ledger names other bytes; loading checks them once more.
    """

    checkpoints: CheckpointAccess = CheckpointAccess()
    weights: dict[str, str | None] = {}
