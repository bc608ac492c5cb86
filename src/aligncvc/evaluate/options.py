"""Where every command of an evaluation takes its settings from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aligncvc.config.jobs.base import Job
from aligncvc.config.option import Changes
from aligncvc.config.plan import Plan

J = TypeVar("J", bound=Job)


@dataclass(kw_only=True)
class Settings:
    """Where a command of this stage takes its settings from: the file of a job, or a configuration."""

    settings: Path | None = None
    """Settings of this job, as the workflow writes them."""
    config: Path | None = None
    """Configuration to make them from; config/config.yaml if both are left out."""
    changes: Changes = ()

    @property
    def root(self) -> Path:
        """Folder of the results that the configuration names; `results` with a settings file."""
        return Path("results" if self.settings else Plan.read(self.config, self.changes).root)

    def job(self, kind: type[J], make: Callable[[Plan], J]) -> J:
        """The settings that were given, or those that `make` takes from the configuration."""
        return (
            kind.read(self.settings, self.changes)
            if self.settings
            else make(Plan.read(self.config, self.changes))
        )
